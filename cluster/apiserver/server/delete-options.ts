// SPDX-License-Identifier: Apache-2.0
// DeleteOptions from a body, a query, or both. Pure.
import type { DeleteOptions } from '../../machinery/api-types.ts';
import { badRequest, invalid } from '../status.ts';
import { parseBody } from './body.ts';
import { isTrue } from './request-info.ts';

export interface ReadDeleteOptions {
  readonly uid: string | undefined;
  readonly resourceVersion: string | undefined;
  readonly gracePeriodSeconds: number | undefined;
  readonly propagationPolicy: string | undefined;
  readonly dryRun: boolean;
}

const policies = ['Background', 'Foreground', 'Orphan'];

/** Throws 400 and 422. */
export function deleteOptions(
  body: Buffer,
  contentType: string | undefined,
  query: URLSearchParams,
): ReadDeleteOptions {
  const value = parseBody(body, contentType);
  if (value !== undefined && (typeof value !== 'object' || value === null || Array.isArray(value))) {
    throw badRequest('the body of a delete must be a DeleteOptions object');
  }
  const options = (value ?? {}) as DeleteOptions;
  const grace = options.gracePeriodSeconds ?? numberFrom(query.get('gracePeriodSeconds'));
  const orphan = options.orphanDependents ?? booleanFrom(query.get('orphanDependents'));
  const policy = options.propagationPolicy ?? query.get('propagationPolicy') ?? undefined;
  const kind = { group: 'meta.k8s.io', kind: 'DeleteOptions' };
  if (policy !== undefined && policy !== '' && !policies.includes(policy)) {
    const detail = `supported values: ${policies.map((one) => JSON.stringify(one)).join(', ')}`;
    throw invalid(kind, '', [{ type: 'Unsupported value', field: 'propagationPolicy', value: policy, detail }]);
  }
  if (orphan !== undefined && policy !== undefined && policy !== '') {
    const detail = 'orphanDependents and deletionPropagation cannot be both set';
    throw invalid(kind, '', [{ type: 'Invalid value', field: 'propagationPolicy', value: policy, detail }]);
  }
  const implied = orphan === undefined ? undefined : orphan ? 'Orphan' : 'Background';
  return {
    uid: options.preconditions?.uid,
    resourceVersion: options.preconditions?.resourceVersion,
    gracePeriodSeconds: grace,
    propagationPolicy: policy === '' ? implied : (policy ?? implied),
    dryRun: (options.dryRun ?? []).includes('All'),
  };
}

function numberFrom(text: string | null): number | undefined {
  if (text === null || text === '') {
    return undefined;
  }
  if (!/^-?\d+$/.test(text)) {
    throw badRequest(`gracePeriodSeconds: Invalid value: ${JSON.stringify(text)}: must be a whole number`);
  }
  return Number(text);
}

function booleanFrom(text: string | null): boolean | undefined {
  return text === null || text === '' ? undefined : isTrue(text);
}
