// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { createAuthority, createTokenKeys, issue } from '../../boot/certificates.ts';
import { FlagError } from '../../machinery/flags.ts';
import { readOptions } from './options.ts';

describe('the command line', () => {
  const directory = mkdtempSync(join(tmpdir(), 'plumb-options-'));
  const given: Record<string, string> = {};

  before(async () => {
    const file = (name: string, text: string): string => {
      writeFileSync(join(directory, name), text);
      return join(directory, name);
    };
    const authority = await createAuthority('ca');
    const serving = await issue(authority, { commonName: 'x', hosts: ['x'], usages: ['server'] });
    const tokens = createTokenKeys();
    Object.assign(given, {
      'etcd-servers': 'https://127.0.0.1:2379',
      'client-ca-file': file('ca.crt', authority.certificate),
      'tls-cert-file': file('x.crt', serving.certificate),
      'tls-private-key-file': file('x.key', serving.key),
      'service-account-key-file': file('sa.pub', tokens.publicKey),
      'service-account-signing-key-file': file('sa.key', tokens.privateKey),
    });
  });
  after(() => rmSync(directory, { recursive: true }));

  const parse = (changes: Record<string, string> = {}) =>
    readOptions(Object.entries({ ...given, ...changes }).map(([name, value]) => `--${name}=${value}`));

  it('reads files and fills in defaults', () => {
    const options = parse({ 'reported-version': '1.35.2', 'advertise-address': '10.0.0.1' });
    expect(options).to.include({ version: 'v1.35.2', securePort: 6443 });
    expect(options.serviceClusterIPRanges).to.deep.equal(['10.96.0.0/16']);
    expect(options.tokens.apiAudiences).to.deep.equal(['https://kubernetes.default.svc.cluster.local']);
  });

  it('names the flag, the value and the remedy of what is wrong', () => {
    const wrong = (changes: Record<string, string>, message: string) =>
      expect(() => parse(changes)).to.throw(FlagError, message);
    wrong({ 'etcd-servers': 'localhost' }, '--etcd-servers: "localhost" is not an endpoint; write it like');
    wrong({ 'service-cluster-ip-range': '10.96.0.0/16,10.97.0.0/16' }, 'give one range, or one of each IP family');
    wrong({ 'service-cluster-ip-range': 'fd00::/64' }, '"fd00::/64" is not a range');
    wrong({ 'secure-port': '70000' }, '--secure-port: 70000 is not a port; take one from 1 to 65535');
    wrong({ 'client-ca-file': '/nowhere' }, '--client-ca-file: cannot read /nowhere');
    wrong({ 'tls-cert-file': given['service-account-key-file'] ?? '' }, 'holds no usable PEM');
    wrong({ 'tls-private-key-file': given['service-account-signing-key-file'] ?? '' }, 'give both of one pair');
    wrong({ 'service-cluster-ip-range': '10.96.0.0' }, 'write it like 10.96.0.0/16');
    wrong({ 'reported-version': 'new' }, 'write it like v1.36.0');
    wrong({ 'secure-prot': '1' }, 'did you mean --secure-port?');
  });
});
