// SPDX-License-Identifier: Apache-2.0
/** Certificates and kubeconfigs of a control plane that lives for one benchmark, for our API server and for a peer alike. */
import 'reflect-metadata';
import { generateKeyPairSync, webcrypto } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const lifetimeMs = 24 * 3600 * 1000;
const serverHosts = ['127.0.0.1', '10.96.0.1', 'localhost', 'kubernetes.default.svc'];

export interface Pki {
  readonly ca: string;
  /** Certificate and key that both serve and authenticate, by the API server and by etcd alike. */
  readonly certificate: string;
  readonly key: string;
  readonly tokenPublicKey: string;
  readonly tokenPrivateKey: string;
  /** Writes a kubeconfig for a user and returns its path. */
  kubeconfig(user: string, group?: string): Promise<string>;
}

/** All values but those of `kubeconfig` are paths below `directory`. */
export async function writePki(directory: string, server: string): Promise<Pki> {
  const file = (name: string, text: string): string => {
    const path = join(directory, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const keys = await newKeys();
  const root = await X509CertificateGenerator.createSelfSigned({
    name: [{ CN: ['bench'] }],
    keys,
    signingAlgorithm: algorithm,
    ...validity(),
    extensions: [new BasicConstraintsExtension(true, undefined, true)],
  });
  const issue = async (commonName: string, group?: string): Promise<{ certificate: string; key: string }> => {
    const own = await newKeys();
    const certificate = await X509CertificateGenerator.create({
      subject: [...(group === undefined ? [] : [{ O: [group] }]), { CN: [commonName] }],
      issuer: root.subject,
      publicKey: own.publicKey,
      signingKey: keys.privateKey,
      signingAlgorithm: algorithm,
      ...validity(),
      extensions: [
        new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth, ExtendedKeyUsage.serverAuth]),
        new SubjectAlternativeNameExtension(
          serverHosts.map((value) => ({ type: isIP(value) === 0 ? 'dns' : 'ip', value })),
        ),
      ],
    });
    return { certificate: certificate.toString('pem'), key: await privateKey(own) };
  };
  const ca = root.toString('pem');
  const serving = await issue('kube-apiserver');
  const token = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    // Upstream's API server reads this form of an EC key, and not PKCS #8.
    privateKeyEncoding: { type: 'sec1', format: 'pem' },
  });
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  return {
    ca: file('ca.crt', ca),
    certificate: file('server.crt', serving.certificate),
    key: file('server.key', serving.key),
    tokenPublicKey: file('sa.pub', token.publicKey),
    tokenPrivateKey: file('sa.key', token.privateKey),
    async kubeconfig(user, group) {
      const identity = await issue(user, group);
      const config = {
        apiVersion: 'v1',
        kind: 'Config',
        clusters: [{ name: 'bench', cluster: { server, 'certificate-authority-data': base64(ca) } }],
        users: [
          {
            name: user,
            user: {
              'client-certificate-data': base64(identity.certificate),
              'client-key-data': base64(identity.key),
            },
          },
        ],
        contexts: [{ name: 'bench', context: { cluster: 'bench', user } }],
        'current-context': 'bench',
      };
      return file(`${user.replaceAll(':', '-')}.kubeconfig`, JSON.stringify(config));
    },
  };
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
}

async function privateKey(keys: webcrypto.CryptoKeyPair): Promise<string> {
  const bytes = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  return `-----BEGIN PRIVATE KEY-----\n${bytes.replace(/.{1,64}/g, '$&\n')}-----END PRIVATE KEY-----\n`;
}

function validity(): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(Date.now() - 300_000), notAfter: new Date(Date.now() + lifetimeMs) };
}
