// SPDX-License-Identifier: Apache-2.0
// Reads and signs PKCS #10 requests with the cluster's CA. The X.509 library is loaded at the first request: most
// clusters see few and should not pay for it.
import type * as X509 from '@peculiar/x509';
import { createPrivateKey, randomBytes, webcrypto } from 'node:crypto';
import type { RequestedCertificate } from './requests.ts';

export interface Authority {
  readonly certificate: string;
  readonly key: string;
}

/** Errors: text that is no PEM certificate request. */
export async function readRequest(pem: string): Promise<RequestedCertificate> {
  const { Pkcs10CertificateRequest, SubjectAlternativeNameExtension } = await library();
  const request = new Pkcs10CertificateRequest(pem);
  const names =
    request.extensions.find((extension) => extension instanceof SubjectAlternativeNameExtension)?.names.items ?? [];
  const of = (type: string): string[] => names.filter((name) => name.type === type).map(({ value }) => value);
  return {
    commonName: request.subjectName.getField('CN')[0] ?? '',
    organizations: request.subjectName.getField('O'),
    dnsNames: of('dns'),
    addresses: of('ip'),
    otherNames: names.filter(({ type }) => type !== 'dns' && type !== 'ip').map(({ value }) => value),
  };
}

/** PEM of the certificate, valid from five minutes ago for `lifetimeMs` but not longer than the CA. */
export async function signRequest(
  authority: Authority,
  pem: string,
  options: { usages: readonly string[]; lifetimeMs: number; now: number },
): Promise<string> {
  const x509 = await library();
  const request = new x509.Pkcs10CertificateRequest(pem);
  if (!(await request.verify())) throw new Error('the signature of the certificate request is wrong');
  const issuer = new x509.X509Certificate(authority.certificate);
  const { key, algorithm } = await signingKey(authority.key);
  const names = request.extensions.find((extension) => extension instanceof x509.SubjectAlternativeNameExtension);
  const extended = options.usages.flatMap((usage) => {
    if (usage === 'client auth') return [x509.ExtendedKeyUsage.clientAuth];
    return usage === 'server auth' ? [x509.ExtendedKeyUsage.serverAuth] : [];
  });
  let flags = 0;
  if (options.usages.includes('digital signature')) flags |= x509.KeyUsageFlags.digitalSignature;
  if (options.usages.includes('key encipherment')) flags |= x509.KeyUsageFlags.keyEncipherment;
  const serial = randomBytes(16);
  serial[0] = (serial[0] ?? 0) & 0x7f;
  const notAfter = Math.min(options.now + options.lifetimeMs, issuer.notAfter.getTime());
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial.toString('hex'),
    subject: request.subject,
    issuer: issuer.subject,
    notBefore: new Date(options.now - 300_000),
    notAfter: new Date(notAfter),
    publicKey: request.publicKey,
    signingKey: key,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      ...(flags === 0 ? [] : [new x509.KeyUsagesExtension(flags, true)]),
      ...(extended.length === 0 ? [] : [new x509.ExtendedKeyUsageExtension(extended)]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
      ...(names ? [names] : []),
    ],
  });
  return `${certificate.toString('pem')}\n`;
}

async function library(): Promise<typeof X509> {
  await import('reflect-metadata');
  return import('@peculiar/x509');
}

async function signingKey(
  pem: string,
): Promise<{ key: webcrypto.CryptoKey; algorithm: { name: string; hash: string } }> {
  const key = createPrivateKey(pem);
  const der = key.export({ format: 'der', type: 'pkcs8' });
  if (key.asymmetricKeyType === 'rsa') {
    const algorithm = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
    return { key: await webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']), algorithm };
  }
  const namedCurve = key.asymmetricKeyDetails?.namedCurve === 'secp384r1' ? 'P-384' : 'P-256';
  const imported = await webcrypto.subtle.importKey('pkcs8', der, { name: 'ECDSA', namedCurve }, false, ['sign']);
  return { key: imported, algorithm: { name: 'ECDSA', hash: 'SHA-256' } };
}
