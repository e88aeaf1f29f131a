// SPDX-License-Identifier: Apache-2.0
// LimitRanger: fills in requests and limits of containers, and keeps them within the namespace's bounds.
import type {
  Container,
  LimitRange,
  LimitRangeItem,
  PersistentVolumeClaim,
  Pod,
  ResourceList,
} from '../../machinery/api-types.ts';
import { podAmounts, toAmounts } from '../../machinery/pod-resources.ts';
import { compare, parseQuantity } from '../../machinery/quantities.ts';
import { typed } from '../resources/define.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../resources/definition.ts';
import { createdPod, isFor, namespaceOf, refusal } from './attributes.ts';

const annotation = 'kubernetes.io/limit-ranger';

export const limitRanger: AdmissionPlugin = {
  name: 'LimitRanger',
  mutate(attributes) {
    const pod = createdPod(attributes);
    if (pod?.spec === undefined) {
      return;
    }
    for (const item of itemsOf(attributes, 'Container')) {
      fillIn(pod, item);
    }
  },
  validate(attributes) {
    const problems = problemsOf(attributes);
    if (problems.length > 0) {
      throw refusal(attributes, problems.length === 1 ? (problems[0] ?? '') : `[${problems.join(', ')}]`);
    }
  },
};

function itemsOf(attributes: AdmissionAttributes, type: string): LimitRangeItem[] {
  return typed<LimitRange>(attributes.context.registry.list('limitranges', namespaceOf(attributes))).flatMap(
    ({ spec }) => (spec?.limits ?? []).filter((item) => item.type === type),
  );
}

/** Adds what is missing, and says on the pod what was added. */
function fillIn(pod: Pod, item: LimitRangeItem): void {
  const notes: string[] = [];
  for (const [kind, containers] of [
    ['container', pod.spec?.containers ?? []],
    ['init container', pod.spec?.initContainers ?? []],
  ] as const) {
    for (const container of containers) {
      const requests = addMissing(container, 'requests', item.defaultRequest);
      const limits = addMissing(container, 'limits', item.default);
      if (requests.length > 0) {
        notes.push(`${requests.join(', ')} request for ${kind} ${container.name}`);
      }
      if (limits.length > 0) {
        notes.push(`${limits.join(', ')} limit for ${kind} ${container.name}`);
      }
    }
  }
  if (notes.length > 0) {
    pod.metadata.annotations = {
      ...pod.metadata.annotations,
      [annotation]: `LimitRanger plugin set: ${notes.join('; ')}`,
    };
  }
}

function addMissing(container: Container, kind: 'requests' | 'limits', defaults: ResourceList | undefined): string[] {
  const present = container.resources?.[kind];
  const missing = Object.keys(defaults ?? {}).filter((name) => present?.[name] === undefined);
  if (missing.length > 0) {
    const added = Object.fromEntries(missing.map((name) => [name, defaults?.[name] ?? '0']));
    container.resources = { ...container.resources, [kind]: { ...present, ...added } };
  }
  return missing.toSorted();
}

function problemsOf(attributes: AdmissionAttributes): string[] {
  const pod = createdPod(attributes);
  if (pod?.spec !== undefined) {
    const containers = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])];
    const perContainer = itemsOf(attributes, 'Container').flatMap((item) =>
      containers.flatMap(({ resources }) => check(item, resources?.requests ?? {}, resources?.limits ?? {})),
    );
    const perPod = itemsOf(attributes, 'Pod').flatMap((item) =>
      check(item, texts(podAmounts(pod, 'requests')), texts(podAmounts(pod, 'limits'))),
    );
    return [...perContainer, ...perPod];
  }
  if (attributes.operation !== 'DELETE' && isFor(attributes, 'persistentvolumeclaims')) {
    const { spec } = attributes.object as unknown as PersistentVolumeClaim;
    const { requests = {}, limits = {} } = spec?.resources ?? {};
    return itemsOf(attributes, 'PersistentVolumeClaim').flatMap((item) => check(item, requests, limits));
  }
  return [];
}

function texts(amounts: Readonly<Record<string, number>>): ResourceList {
  return Object.fromEntries(
    Object.entries(amounts).map(([name, amount]) => [name, name === 'cpu' ? `${amount}m` : String(amount)]),
  );
}

function check(item: LimitRangeItem, requests: ResourceList, limits: ResourceList): string[] {
  const { type } = item;
  const problems: string[] = [];
  for (const [name, bound] of Object.entries(item.min ?? {})) {
    const usage = `minimum ${name} usage per ${type} is ${bound}`;
    if (requests[name] === undefined) {
      problems.push(`${usage}.  No request is specified`);
    } else if (compare(requests[name], bound) < 0) {
      problems.push(`${usage}, but request is ${requests[name]}`);
    } else if (limits[name] !== undefined && compare(limits[name], bound) < 0) {
      problems.push(`${usage}, but limit is ${limits[name]}`);
    }
  }
  for (const [name, bound] of Object.entries(item.max ?? {})) {
    const usage = `maximum ${name} usage per ${type} is ${bound}`;
    if (type === 'PersistentVolumeClaim') {
      if (requests[name] !== undefined && compare(requests[name], bound) > 0) {
        problems.push(`${usage}, but request is ${requests[name]}`);
      }
    } else if (limits[name] === undefined) {
      problems.push(`${usage}.  No limit is specified`);
    } else if (compare(limits[name], bound) > 0) {
      problems.push(`${usage}, but limit is ${limits[name]}`);
    }
  }
  for (const [name, bound] of Object.entries(item.maxLimitRequestRatio ?? {})) {
    const request = toAmounts({ [name]: requests[name] ?? '0' })[name] ?? 0;
    const limit = toAmounts({ [name]: limits[name] ?? '0' })[name] ?? 0;
    if (request === 0) {
      problems.push(
        `${name} max limit to request ratio per ${type} is ${bound}, but no request is specified or request is 0`,
      );
    } else if (limit / request > Number(parseQuantity(bound)) / 1e9) {
      problems.push(
        `${name} max limit to request ratio per ${type} is ${bound}, but provided ratio is ${(limit / request).toFixed(6)}`,
      );
    }
  }
  return problems;
}
