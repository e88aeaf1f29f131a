// SPDX-License-Identifier: Apache-2.0
// Nodes: the machines that kubelets speak for.
import type { Node } from '../../../machinery/api-types.ts';
import type { ResourcesConfig } from '../config.ts';
import { define } from '../define.ts';
import type { FieldError, ResourceDefinition } from '../definition.ts';
import { ageColumn, nameColumn, orNone, text, wide } from '../printing/columns.ts';
import { nodeProxy } from '../subresources/proxies.ts';
import { duplicate, forbidden, messages, notSupported, required } from '../validation/fields.ts';
import { labelValue, qualifiedName } from '../validation/names.ts';
import { validateResourceList } from '../validation/resources.ts';

const effects = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'];
const rolePrefix = 'node-role.kubernetes.io/';

export function nodes(config: ResourcesConfig): ResourceDefinition {
  return define<Node>({
    group: '',
    plural: 'nodes',
    kind: 'Node',
    namespaced: false,
    shortNames: ['no'],
    default(node) {
      if (node.status?.capacity !== undefined) {
        node.status.allocatable ??= { ...node.status.capacity };
      }
    },
    validate,
    validateUpdate,
    status: { validateUpdate: (node) => validateAmounts(node) },
    // A kubelet registers itself together with its status.
    initialStatus: (node) => node.status ?? {},
    subresources: { proxy: nodeProxy(config.kubelet) },
    selectableFields: ({ spec }) => ({ 'spec.unschedulable': String(spec?.unschedulable === true) }),
    allColumns: [
      nameColumn(),
      text('Status', statusText, 'The status of the node'),
      text('Roles', roles, 'The roles of the node'),
      ageColumn(),
      text('Version', ({ status }) => status?.nodeInfo?.kubeletVersion ?? ''),
      wide(text('Internal-IP', (node) => address(node, 'InternalIP'))),
      wide(text('External-IP', (node) => address(node, 'ExternalIP'))),
      wide(text('OS-Image', ({ status }) => orUnknown(status?.nodeInfo?.osImage))),
      wide(text('Kernel-Version', ({ status }) => orUnknown(status?.nodeInfo?.kernelVersion))),
      wide(text('Container-Runtime', ({ status }) => orUnknown(status?.nodeInfo?.containerRuntimeVersion))),
    ],
  });
}

function validate(node: Node): FieldError[] {
  const errors = validateAmounts(node);
  const seen = new Set<string>();
  for (const [index, { key, value = '', effect }] of (node.spec?.taints ?? []).entries()) {
    const at = `spec.taints[${index}]`;
    errors.push(
      ...messages(`${at}.key`, key, qualifiedName(key)),
      ...messages(`${at}.value`, value, labelValue(value)),
      ...((effect as string) === ''
        ? [required(`${at}.effect`)]
        : effects.includes(effect)
          ? []
          : [notSupported(`${at}.effect`, effect, effects)]),
    );
    if (seen.has(`${key}:${effect}`)) {
      errors.push({ ...duplicate(at, { key, value, effect }), detail: 'taints must be unique by key and effect pair' });
    }
    seen.add(`${key}:${effect}`);
  }
  return errors;
}

function validateAmounts({ status }: Node): FieldError[] {
  return [
    ...validateResourceList(status?.capacity, 'status.capacity'),
    ...validateResourceList(status?.allocatable, 'status.allocatable'),
  ];
}

function validateUpdate(node: Node, old: Node): FieldError[] {
  const errors: FieldError[] = [];
  for (const field of ['podCIDR', 'providerID'] as const) {
    const before = old.spec?.[field] ?? '';
    if (before !== '' && node.spec?.[field] !== before) {
      errors.push(forbidden(`spec.${field}`, `node updates may not change ${field} except from "" to valid`));
    }
  }
  return errors;
}

function statusText({ spec, status }: Node): string {
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  const word = ready === undefined ? 'Unknown' : ready.status === 'True' ? 'Ready' : 'NotReady';
  return spec?.unschedulable === true ? `${word},SchedulingDisabled` : word;
}

function roles({ metadata }: Node): string {
  const names = Object.entries(metadata.labels ?? {}).flatMap(([key, value]) => {
    if (key.startsWith(rolePrefix)) {
      return key === rolePrefix ? [] : [key.slice(rolePrefix.length)];
    }
    return key === 'kubernetes.io/role' && value !== '' ? [value] : [];
  });
  return orNone([...new Set(names)].toSorted().join(','));
}

function address({ status }: Node, type: string): string {
  return orNone(status?.addresses?.find((candidate) => candidate.type === type)?.address);
}

function orUnknown(value: string | undefined): string {
  return value === undefined || value === '' ? '<unknown>' : value;
}
