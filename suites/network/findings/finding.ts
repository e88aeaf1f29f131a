// SPDX-License-Identifier: Apache-2.0
/** What is wrong on a node, in words that name it, with what proves it. */
import type { V1EndpointSlice, V1Node, V1Pod, V1Service } from '@kubernetes/client-node';

export interface Finding {
  /** The same for the same fault at another time, so that what passes by itself can be told from what stays. */
  readonly key: string;
  /** Whose work it is. */
  readonly component: 'kube-proxy' | 'network plugin' | 'kernel' | 'node' | 'API';
  /** Name of the Node object; empty where it is no single node's. */
  readonly node: string;
  /** `Service shop/web port http`, `route 10.244.1.0/24`, `interface eth0`. */
  readonly object: string;
  readonly what: string;
  /** Lines as the node or the API shows them. */
  readonly proof: readonly string[];
  readonly remedy: string;
}

/** What the API says, read at about the same time as the nodes' states. */
export interface ApiObjects {
  readonly nodes: readonly V1Node[];
  readonly pods: readonly V1Pod[];
  readonly services: readonly V1Service[];
  readonly endpointSlices: readonly V1EndpointSlice[];
}

export function finding(parts: Omit<Finding, 'key'> & { readonly about: string }): Finding {
  const { about, ...rest } = parts;
  return { key: [rest.node, rest.component, rest.object, about].join('|'), ...rest };
}
