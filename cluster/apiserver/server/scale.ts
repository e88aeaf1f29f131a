// SPDX-License-Identifier: Apache-2.0
// The `scale` subresource: an autoscaling/v1 Scale as a view of the paths that a definition declares. Pure.
import { formatLabelSelector } from '../../machinery/selectors.ts';
import type { LabelSelector } from '../../machinery/api-types.ts';
import type { KubeObject, ScalePaths } from '../resources/definition.ts';
import { badRequest, invalid } from '../status.ts';
import { copy, setAt, valueAt } from './json.ts';

export function scaleOf(object: KubeObject, paths: ScalePaths): KubeObject {
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata;
  const selector = paths.selector === undefined ? '' : selectorText(valueAt(object, paths.selector));
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: JSON.parse(
      JSON.stringify({ name, namespace, uid, resourceVersion, creationTimestamp }),
    ) as KubeObject['metadata'],
    spec: { replicas: Number(valueAt(object, paths.specReplicas) ?? 0) },
    status: { replicas: Number(valueAt(object, paths.statusReplicas) ?? 0), ...(selector === '' ? {} : { selector }) },
  };
}

/** The object with the replicas that `scale` asks for. Throws 400 and 422. */
export function applyScale(object: KubeObject, scale: KubeObject, paths: ScalePaths): KubeObject {
  if (scale.kind !== 'Scale') {
    throw badRequest(`expected a Scale, got ${scale.kind}`);
  }
  const replicas = valueAt(scale, '.spec.replicas') ?? 0;
  if (typeof replicas !== 'number' || !Number.isInteger(replicas) || replicas < 0) {
    const detail = 'must be greater than or equal to 0';
    const error = { type: 'Invalid value', field: 'spec.replicas', value: replicas, detail } as const;
    throw invalid({ group: 'autoscaling', kind: 'Scale' }, object.metadata.name ?? '', [error]);
  }
  const next = copy(object);
  setAt(next, paths.specReplicas, replicas);
  if (scale.metadata.resourceVersion === undefined) {
    delete next.metadata.resourceVersion;
  } else {
    next.metadata.resourceVersion = scale.metadata.resourceVersion;
  }
  return next;
}

function selectorText(selector: unknown): string {
  if (typeof selector === 'string') {
    return selector;
  }
  if (typeof selector !== 'object' || selector === null) {
    return '';
  }
  const given = selector as LabelSelector;
  const isLabelSelector = given.matchLabels !== undefined || given.matchExpressions !== undefined;
  return formatLabelSelector(isLabelSelector ? given : { matchLabels: selector as Record<string, string> });
}
