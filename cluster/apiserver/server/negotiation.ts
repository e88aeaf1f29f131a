// SPDX-License-Identifier: Apache-2.0
// Which form a client wants: the object itself, a Table for kubectl's columns, or metadata only. Always as JSON, which every
// Kubernetes client accepts. Pure.
import { notAcceptable } from '../status.ts';

export type Representation =
  | { readonly kind: 'object' }
  | { readonly kind: 'table'; readonly version: string }
  | { readonly kind: 'metadata'; readonly version: string };

const jsonTypes = new Set(['application/json', 'application/*', '*/*']);
const plain: Representation = { kind: 'object' };
const cache = new Map<string, Representation>();

/** Reads an Accept header; the first form that the server has wins. Throws 406. */
export function negotiate(accept: string | undefined): Representation {
  if (accept === undefined || accept === '' || accept === 'application/json') {
    return plain;
  }
  const known = cache.get(accept);
  if (known !== undefined) {
    return known;
  }
  const parsed = parse(accept);
  if (cache.size < 200) {
    cache.set(accept, parsed);
  }
  return parsed;
}

function parse(accept: string): Representation {
  for (const { type, parameters } of parseAccept(accept)) {
    if (!jsonTypes.has(type)) {
      continue;
    }
    const as = parameters.get('as');
    if (as === undefined) {
      return plain;
    }
    const version = parameters.get('v') ?? '';
    if (parameters.get('g') === 'meta.k8s.io' && (version === 'v1' || version === 'v1beta1')) {
      if (as === 'Table') {
        return { kind: 'table', version };
      }
      if (as === 'PartialObjectMetadata' || as === 'PartialObjectMetadataList') {
        return { kind: 'metadata', version };
      }
    }
  }
  throw notAcceptable(['application/json']);
}

/** For what is no stored object and has no other form, such as reviews. Throws 406. */
export function requirePlain(accept: string | undefined): void {
  const takesPlain = ({ type, parameters }: ReturnType<typeof parseAccept>[number]): boolean =>
    jsonTypes.has(type) && !parameters.has('as');
  if (accept !== undefined && accept !== '' && !parseAccept(accept).some(takesPlain)) {
    throw notAcceptable(['application/json']);
  }
}

/** Media types with their parameters, best quality first. */
export function parseAccept(accept: string): { type: string; parameters: Map<string, string> }[] {
  return accept
    .split(',')
    .map((clause) => {
      const [type = '', ...rest] = clause.split(';').map((part) => part.trim());
      const parameters = new Map(
        rest.map((part): [string, string] => {
          const equals = part.indexOf('=');
          return equals < 0 ? [part, ''] : [part.slice(0, equals), part.slice(equals + 1).replaceAll('"', '')];
        }),
      );
      return { type: type.toLowerCase(), parameters };
    })
    .filter(({ type }) => type !== '')
    .toSorted((a, b) => Number(b.parameters.get('q') ?? 1) - Number(a.parameters.get('q') ?? 1));
}
