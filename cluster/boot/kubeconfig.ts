// SPDX-License-Identifier: Apache-2.0
// Kubeconfig files with everything embedded, so that one file can be copied anywhere.

import { stringify } from 'yaml';

import type { KeyPair } from './certificates.ts';

export interface KubeconfigSpec {
  readonly cluster: string;
  readonly server: string;
  /** PEM of the cluster's CA. */
  readonly authority: string;
  readonly userName: string;
  readonly user: KeyPair;
}

export function kubeconfig(spec: KubeconfigSpec): string {
  const context = `${spec.userName}@${spec.cluster}`;
  return stringify(
    {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        { name: spec.cluster, cluster: { server: spec.server, 'certificate-authority-data': base64(spec.authority) } },
      ],
      users: [
        {
          name: spec.userName,
          user: { 'client-certificate-data': base64(spec.user.certificate), 'client-key-data': base64(spec.user.key) },
        },
      ],
      contexts: [{ name: context, context: { cluster: spec.cluster, user: spec.userName } }],
      'current-context': context,
    },
    { lineWidth: 0 },
  );
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
