// SPDX-License-Identifier: Apache-2.0
/** Certificates for tests of TLS. */
import 'reflect-metadata';
import { generateKeyPairSync, webcrypto } from 'node:crypto';
import { SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const dayMs = 86_400_000;

/** The data of a TLS Secret for a host; `organization` tells one from another. */
export async function selfSigned(
  host: string,
  organization: string,
): Promise<{ 'tls.crt': string; 'tls.key': string }> {
  const pair = generateKeyPairSync('ec', { namedCurve: algorithm.namedCurve });
  const key = pair.privateKey.export({ type: 'pkcs8', format: 'der' });
  const spki = pair.publicKey.export({ type: 'spki', format: 'der' });
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: [{ O: [organization] }, { CN: [host] }],
    keys: {
      privateKey: await webcrypto.subtle.importKey('pkcs8', key, algorithm, true, ['sign']),
      publicKey: await webcrypto.subtle.importKey('spki', spki, algorithm, true, ['verify']),
    },
    signingAlgorithm: algorithm,
    notBefore: new Date(Date.now() - dayMs),
    notAfter: new Date(Date.now() + dayMs),
    extensions: [new SubjectAlternativeNameExtension([{ type: 'dns', value: host }])],
  });
  return {
    'tls.crt': certificate.toString('pem'),
    'tls.key': pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}
