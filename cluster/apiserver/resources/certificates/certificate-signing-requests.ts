// SPDX-License-Identifier: Apache-2.0
// Certificate signing requests.
import type { CertificateSigningRequest } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

export const certificateSigningRequests = define<CertificateSigningRequest>({
  group: 'certificates.k8s.io',
  plural: 'certificatesigningrequests',
  kind: 'CertificateSigningRequest',
  namespaced: false,
  shortNames: ['csr'],
  status: true,
});
