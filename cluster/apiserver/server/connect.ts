// SPDX-License-Identifier: Apache-2.0
// What admission sees of a connection into the cluster, such as exec or attach: the options of its query as an object.
import type {
  AdmissionAttributes,
  KubeObject,
  RequestContext,
  SubresourceDefinition,
} from '../resources/definition.ts';
import type { Served } from './catalog.ts';
import type { Core } from './core.ts';
import { isTrue } from './request-info.ts';

const flags = ['stdin', 'stdout', 'stderr', 'tty'] as const;

/** Kinds whose requests open connections. */
export function isConnection({ kind }: SubresourceDefinition): boolean {
  return /^(?:Pod(?:Exec|Attach|PortForward|Proxy)|ServiceProxy|NodeProxy)Options$/.test(kind);
}

/** Asks those plugins that have a say in connections. Throws StatusError for a refusal. */
export async function admitConnection(
  core: Core,
  { served, own, context, path }: { served: Served; own: SubresourceDefinition; context: RequestContext; path: string },
): Promise<void> {
  const attributes: AdmissionAttributes = {
    operation: 'CONNECT',
    definition: served.definition,
    context,
    object: connectOptions(own.kind, context.query, path),
  };
  for (const plugin of core.plugins) {
    await plugin.connect?.(attributes);
  }
}

/** `path` is what follows the subresource, for proxies. */
export function connectOptions(kind: string, query: URLSearchParams, path: string): KubeObject {
  const options: KubeObject = { apiVersion: 'v1', kind, metadata: {} };
  if (kind.endsWith('ProxyOptions')) {
    return path === '' ? options : { ...options, path: `/${path}` };
  }
  if (kind === 'PodPortForwardOptions') {
    const ports = query.getAll('ports').flatMap((text) => text.split(',').map(Number));
    return ports.length === 0 ? options : { ...options, ports };
  }
  for (const flag of flags) {
    if (isTrue(query.get(flag))) {
      options[flag] = true;
    }
  }
  const container = query.get('container') ?? '';
  const command = query.getAll('command');
  return {
    ...options,
    ...(container === '' ? {} : { container }),
    ...(command.length === 0 ? {} : { command }),
  };
}
