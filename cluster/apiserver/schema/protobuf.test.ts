// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import fc from 'fast-check';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ProtobufError, decodeProtobuf } from './protobuf.ts';

const TESTDATA = join(import.meta.dirname, 'testdata');

/** Bodies that kubectl 1.32 sent. */
const KUBECTL_SECRET =
  'azhzAAoMCgJ2MRIGU2VjcmV0EjUKEgoCczESABoAIgAqADIAOABCABIOCgRwYXNzEgZnZWhlaW0SDQoEdXNlchIFYWRtaW4aABoAIgA=';
const KUBECTL_TOKEN_REQUEST =
  'azhzAAooChhhdXRoZW50aWNhdGlvbi5rOHMuaW8vdjESDFRva2VuUmVxdWVzdBIdChAKABIAGgAiACoAMgA4AEIAEgMgkBwaBAoAEgAaACIA';
const KUBECTL_DEPLOYMENT =
  'azhzAAoVCgdhcHBzL3YxEgpEZXBsb3ltZW50ErgBCh8KA3dlYhIAGgAiACoAMgA4AEIAWgoKA2FwcBIDd2ViEoYBCAESDAoKCgNhcHASA3dlYhps' +
  'ChwKABIAGgAiACoAMgA4AEIAWgoKA2FwcBIDd2ViEkwSLgoFbmdpbngSBW5naW54KgAyCgoAEAAYUCIAKgBCAGoAcgCAAQCIAQCQAQCiAQAaADIA' +
  'QgBKAFIAWABgAGgAggEAigEAmgEAwgEAIgIKACgAOAAaDAgAEAAYACAAKAA4ABoAIgA=';

describe('decodeProtobuf', () => {
  it('decodes what kubectl sends, without the zero values that JSON leaves out', () => {
    expect(decodeProtobuf(Buffer.from(KUBECTL_SECRET, 'base64'))).to.deep.equal({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 's1' },
      data: { pass: Buffer.from('geheim').toString('base64'), user: Buffer.from('admin').toString('base64') },
    });
    expect(decodeProtobuf(Buffer.from(KUBECTL_TOKEN_REQUEST, 'base64'))).to.deep.include({
      kind: 'TokenRequest',
      spec: { expirationSeconds: 3600 },
    });
    expect(decodeProtobuf(Buffer.from(KUBECTL_DEPLOYMENT, 'base64'))).to.deep.equal({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web', labels: { app: 'web' } },
      spec: {
        replicas: 1,
        selector: { matchLabels: { app: 'web' } },
        template: {
          metadata: { labels: { app: 'web' } },
          spec: { containers: [{ name: 'nginx', image: 'nginx', resources: {}, ports: [{ containerPort: 80 }] }] },
        },
        strategy: {},
      },
      status: {},
    });
  });

  for (const file of readdirSync(TESTDATA)) {
    it(`agrees with upstream on ${file}`, () => {
      const { protobuf, json } = JSON.parse(readFileSync(join(TESTDATA, file), 'utf8')) as Record<string, string>;
      expect(decodeProtobuf(Buffer.from(protobuf ?? '', 'base64'))).to.deep.equal(json);
    });
  }

  it('refuses what is no such body', () => {
    expect(() => decodeProtobuf(Buffer.from('{}'))).to.throw(ProtobufError, 'does not appear to be a protobuf message');
    const unknown = Buffer.from(KUBECTL_SECRET, 'base64').toString('latin1').replace('Secret', 'Secrat');
    expect(() => decodeProtobuf(Buffer.from(unknown, 'latin1'))).to.throw(ProtobufError, 'no kind "Secrat"');
  });

  it('answers damaged bodies with an object or a ProtobufError, never with anything else', () => {
    const body = Buffer.from(KUBECTL_DEPLOYMENT, 'base64');
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(body.length - 1), fc.nat(255)), { maxLength: 8 }),
        fc.nat(body.length),
        (changes, end) => {
          const damaged = Buffer.from(body);
          for (const [at, byte] of changes) damaged[at] = byte;
          try {
            decodeProtobuf(damaged.subarray(0, end));
          } catch (error) {
            expect(error).to.be.instanceOf(ProtobufError);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});
