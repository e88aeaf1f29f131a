// SPDX-License-Identifier: Apache-2.0
// What the built-in signers demand of a certificate request, by the API's documentation of each signer.

/** The parts of a PKCS #10 request that the rules look at. */
export interface RequestedCertificate {
  readonly commonName: string;
  readonly organizations: readonly string[];
  readonly dnsNames: readonly string[];
  readonly addresses: readonly string[];
  /** Names of other kinds: e-mail addresses and URIs. */
  readonly otherNames: readonly string[];
}

export const signers = {
  client: 'kubernetes.io/kube-apiserver-client',
  kubeletClient: 'kubernetes.io/kube-apiserver-client-kubelet',
  kubeletServing: 'kubernetes.io/kubelet-serving',
} as const;

const clientUsages = new Set(['client auth', 'digital signature', 'key encipherment']);
const servingUsages = new Set(['server auth', 'digital signature', 'key encipherment']);

/** Why the signer refuses the request; undefined when it does not, or does not know the signer. */
export function refusal(
  signerName: string,
  request: RequestedCertificate,
  usages: readonly string[],
): string | undefined {
  switch (signerName) {
    case signers.client:
      return usageProblem(usages, clientUsages, 'client auth');
    case signers.kubeletClient:
      if (request.dnsNames.length + request.addresses.length + request.otherNames.length > 0) {
        return 'DNS, IP, email and URI subjectAltNames are not allowed';
      }
      return nodeProblem(request) ?? usageProblem(usages, clientUsages, 'client auth');
    case signers.kubeletServing:
      if (request.dnsNames.length + request.addresses.length === 0) return 'DNS or IP subjectAltName is required';
      if (request.otherNames.length > 0) return 'email and URI subjectAltNames are not allowed';
      return nodeProblem(request) ?? usageProblem(usages, servingUsages, 'server auth');
    default:
      return undefined;
  }
}

function nodeProblem({ commonName, organizations }: RequestedCertificate): string | undefined {
  if (organizations.length !== 1 || organizations[0] !== 'system:nodes')
    return 'subject organization is not system:nodes';
  return commonName.startsWith('system:node:') ? undefined : 'subject common name does not begin with system:node:';
}

function usageProblem(usages: readonly string[], allowed: ReadonlySet<string>, required: string): string | undefined {
  const wrong = usages.find((usage) => !allowed.has(usage));
  if (wrong !== undefined) return `usage "${wrong}" is not allowed`;
  return usages.includes(required) ? undefined : `usage "${required}" is required`;
}
