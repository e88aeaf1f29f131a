// SPDX-License-Identifier: Apache-2.0
// CertificateApproval, CertificateSigning and CertificateSubjectRestriction: who may decide on and sign requests of which
// signer, and which subjects nobody gets from the API's own client signer.
import type { CertificateSigningRequest } from '../../machinery/api-types.ts';
import type { AccessAttributes, AccessDecision } from '../resources/config.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../resources/definition.ts';
import { same } from '../resources/validation/fields.ts';
import { refusal, resourceName } from './attributes.ts';

type Authorize = (attributes: AccessAttributes) => AccessDecision | Promise<AccessDecision>;

const requests = 'certificatesigningrequests.certificates.k8s.io';
/** DER of the object identifier 2.5.4.10. */
const organizationName = Buffer.from([0x06, 0x03, 0x55, 0x04, 0x0a]);
const clientSigner = 'kubernetes.io/kube-apiserver-client';

export function certificateApproval(authorize: Authorize): AdmissionPlugin {
  return {
    name: 'CertificateApproval',
    async validate(attributes) {
      if (resourceName(attributes) === requests && attributes.context.subresource === 'approval') {
        await requireSigner(attributes, authorize, 'approve');
      }
    },
  };
}

export function certificateSigning(authorize: Authorize): AdmissionPlugin {
  return {
    name: 'CertificateSigning',
    async validate(attributes) {
      if (resourceName(attributes) !== requests || attributes.context.subresource !== 'status') {
        return;
      }
      const { status } = attributes.object as unknown as CertificateSigningRequest;
      const before = (attributes.old as unknown as CertificateSigningRequest | undefined)?.status;
      if (!same(status?.certificate, before?.certificate) || !same(status?.conditions, before?.conditions)) {
        await requireSigner(attributes, authorize, 'sign');
      }
    },
  };
}

export const certificateSubjectRestriction: AdmissionPlugin = {
  name: 'CertificateSubjectRestriction',
  validate(attributes) {
    if (resourceName(attributes) !== requests || attributes.operation !== 'CREATE') {
      return;
    }
    const { spec } = attributes.object as unknown as CertificateSigningRequest;
    if (spec.signerName !== clientSigner) {
      return;
    }
    const groups = organizations(spec.request);
    if (groups === undefined) {
      throw refusal(attributes, 'failed to parse request');
    }
    if (groups.includes('system:masters')) {
      throw refusal(attributes, `use of ${clientSigner} signer with system:masters group is not allowed`);
    }
  },
};

/**
 * All organizations of the subject, found by their object identifier: every one has to stand in the DER with it, so none can
 * hide. Undefined when the request is no PEM block.
 */
function organizations(request: string): string[] | undefined {
  const pem = Buffer.from(request, 'base64').toString();
  const body = /-----BEGIN [A-Z ]+-----([^-]+)-----END/.exec(pem)?.[1];
  if (body === undefined) {
    return undefined;
  }
  const der = Buffer.from(body, 'base64');
  const found: string[] = [];
  for (let at = der.indexOf(organizationName); at >= 0; at = der.indexOf(organizationName, at + 1)) {
    const value = at + organizationName.length;
    // Behind the identifier come the tag of the string and its length, which is below 128 for names of groups.
    found.push(der.subarray(value + 2, value + 2 + (der[value + 1] ?? 0)).toString());
  }
  return found;
}

/** Allowed for the signer by name, or for all signers of its domain. */
async function requireSigner(
  attributes: AdmissionAttributes,
  authorize: Authorize,
  verb: 'approve' | 'sign',
): Promise<void> {
  const { user } = attributes.context;
  const { signerName = '' } = (attributes.old as unknown as CertificateSigningRequest).spec;
  const domain = signerName.split('/')[0] ?? '';
  for (const name of [signerName, `${domain}/*`]) {
    const { allowed } = await authorize({
      user,
      verb,
      group: 'certificates.k8s.io',
      version: '*',
      resource: 'signers',
      name,
    });
    if (allowed) {
      return;
    }
  }
  throw refusal(attributes, `user not permitted to ${verb} requests with signerName ${JSON.stringify(signerName)}`);
}
