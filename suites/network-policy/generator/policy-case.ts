// SPDX-License-Identifier: Apache-2.0
/**
 * A policy case as data: what is done to nine pods in three namespaces, step by step. After each step the whole matrix must be as the oracle
 * says. Cases are written in terms of a table: namespaces x, y, z (label `ns`), pods a, b, c (label `pod`) in each. What only a live table
 * knows stands in placeholders until `bindCase` fills them in: `$(x)` for the namespace's real name, `$(z/c)` for a pod's address as a block,
 * `$(z/c)/24` for the block of that size around it. Sizes are IPv4's; in IPv6 the block has as many addresses.
 */
import { isIPv4 } from 'node:net';
import type { V1NetworkPolicy, V1NetworkPolicySpec } from '@kubernetes/client-node';
import type { ClusterNetworkPolicy } from '../../oracles/reachability/cluster-network-policy.ts';
import type { Labels, Model, ModelPod } from '../../oracles/reachability/model.ts';

/** Ports that every pod of the table serves on TCP and UDP, and on SCTP where the kernel has it. */
export const tablePorts = { first: 8080, second: 8081 } as const;

/** Pod b swaps the numbers behind its TCP names, so that a plugin that resolves a name once for all pods is caught. */
export function tablePortNames(pod: string): Readonly<Record<string, number>> {
  const { first, second } = tablePorts;
  return {
    'tcp/web': pod === 'b' ? second : first,
    'tcp/admin': pod === 'b' ? first : second,
    'udp/feed': first,
    'udp/log': second,
    'sctp/link': first,
    'sctp/sync': second,
  };
}

export interface CasePolicy {
  /** Key of a namespace of the table. */
  readonly in: string;
  readonly name: string;
  readonly spec: V1NetworkPolicySpec;
}

/** A label that is null is taken away. */
type LabelChange = Readonly<Record<string, string | null>>;

export type CaseAction =
  /** Creates the policy, or replaces the one of that name. */
  | { readonly kind: 'put-policy'; readonly policy: CasePolicy }
  | { readonly kind: 'delete-policy'; readonly in: string; readonly name: string }
  | { readonly kind: 'put-cluster-policy'; readonly policy: ClusterNetworkPolicy }
  | { readonly kind: 'label-pod'; readonly in: string; readonly pod: string; readonly labels: LabelChange }
  | { readonly kind: 'label-namespace'; readonly namespace: string; readonly labels: LabelChange }
  | { readonly kind: 'create-pod'; readonly in: string; readonly pod: string; readonly labels: Labels }
  | { readonly kind: 'delete-pod'; readonly in: string; readonly pod: string }
  | { readonly kind: 'create-namespace'; readonly namespace: string; readonly labels: Labels }
  /** With the pods that earlier steps created in it. */
  | { readonly kind: 'delete-namespace'; readonly namespace: string };

export interface PolicyCase {
  /** Stable; starts with `network-policy.`. */
  readonly id: string;
  readonly title: string;
  /** Its family, what its steps do, and what its policies consist of. */
  readonly tags: readonly string[];
  readonly steps: readonly (readonly CaseAction[])[];
}

export interface TableFacts {
  readonly namespaceName: (key: string) => string;
  /** Address of a pod of the table in the family under test. */
  readonly address: (namespaceKey: string, pod: string) => string;
}

export function bindCase(policyCase: PolicyCase, facts: TableFacts): PolicyCase {
  return { ...policyCase, steps: fillIn(policyCase.steps, facts) };
}

/** Replaces the placeholders in every string of `value`. */
export function fillIn<T>(value: T, facts: TableFacts): T {
  if (typeof value === 'string') {
    const block = /^\$\((\w+)\/(\w+)\)(?:\/(\d+))?$/.exec(value);
    if (block !== null) return blockAround(facts.address(block[1] ?? '', block[2] ?? ''), Number(block[3] ?? 32)) as T;
    return value.replaceAll(/\$\((\w+)\)/g, (_, key: string) => facts.namespaceName(key)) as T;
  }
  if (Array.isArray(value)) return value.map((one: unknown) => fillIn(one, facts)) as T;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, one]: [string, unknown]) => [key, fillIn(one, facts)]),
  ) as T;
}

/** What the table must look like after the actions; for the oracle, before or without a cluster. */
export function applyActions(model: Model, actions: readonly CaseAction[], facts: TableFacts): Model {
  return fillIn(actions, facts).reduce((before, action) => applyAction(before, action, facts), model);
}

function applyAction(model: Model, action: CaseAction, { namespaceName, address }: TableFacts): Model {
  switch (action.kind) {
    case 'put-policy': {
      const { name, spec } = action.policy;
      const policy: V1NetworkPolicy = { metadata: { namespace: namespaceName(action.policy.in), name }, spec };
      return { ...model, policies: [...without(model.policies, policy), policy] };
    }
    case 'delete-policy': {
      const metadata = { namespace: namespaceName(action.in), name: action.name };
      return { ...model, policies: without(model.policies, { metadata }) };
    }
    case 'put-cluster-policy': {
      const { policy } = action;
      const others = (model.clusterPolicies ?? []).filter((one) => one.metadata?.name !== policy.metadata?.name);
      return { ...model, clusterPolicies: [...others, policy] };
    }
    case 'label-pod':
      return {
        ...model,
        pods: model.pods.map((pod) =>
          isNamed(pod, namespaceName(action.in), action.pod)
            ? { ...pod, labels: relabel(pod.labels, action.labels) }
            : pod,
        ),
      };
    case 'label-namespace': {
      const name = namespaceName(action.namespace);
      const labels = relabel(model.namespaces.get(name) ?? {}, action.labels);
      return { ...model, namespaces: new Map([...model.namespaces, [name, labels]]) };
    }
    case 'create-pod': {
      const pod: ModelPod = {
        namespace: namespaceName(action.in),
        name: action.pod,
        labels: action.labels,
        addresses: [address(action.in, action.pod)],
        node: model.pods[0]?.node ?? '',
        namedPorts: tablePortNames(action.pod),
      };
      return { ...model, pods: [...model.pods, pod] };
    }
    case 'delete-pod':
      return { ...model, pods: model.pods.filter((pod) => !isNamed(pod, namespaceName(action.in), action.pod)) };
    case 'create-namespace': {
      const name = namespaceName(action.namespace);
      const labels = { ...action.labels, 'kubernetes.io/metadata.name': name };
      return { ...model, namespaces: new Map([...model.namespaces, [name, labels]]) };
    }
    case 'delete-namespace': {
      const name = namespaceName(action.namespace);
      return {
        ...model,
        namespaces: new Map([...model.namespaces].filter(([one]) => one !== name)),
        pods: model.pods.filter(({ namespace }) => namespace !== name),
        policies: model.policies.filter(({ metadata }) => metadata?.namespace !== name),
      };
    }
  }
}

function without(policies: readonly V1NetworkPolicy[], { metadata }: V1NetworkPolicy): V1NetworkPolicy[] {
  return policies.filter(
    (one) => one.metadata?.namespace !== metadata?.namespace || one.metadata?.name !== metadata?.name,
  );
}

function isNamed(pod: ModelPod, namespace: string, name: string): boolean {
  return pod.namespace === namespace && pod.name === name;
}

function relabel(labels: Labels, change: LabelChange): Labels {
  const merged: Record<string, string | null> = { ...labels, ...change };
  return Object.fromEntries(Object.entries(merged).filter((entry): entry is [string, string] => entry[1] !== null));
}

function blockAround(address: string, prefix: number): string {
  const hostBits = 32 - prefix;
  if (isIPv4(address)) {
    const number = address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
    const base = Math.floor(number / 2 ** hostBits) * 2 ** hostBits;
    return `${[24, 16, 8, 0].map((shift) => Math.floor(base / 2 ** shift) % 256).join('.')}/${prefix}`;
  }
  // "Everything" stays everything; otherwise the same number of addresses.
  if (prefix === 0) return '::/0';
  const [front = '', back] = address.split('::');
  const groups = (text: string): string[] => text.split(':').filter((group) => group !== '');
  const [head, tail] = [groups(front), groups(back ?? '')];
  const zeros = Array.from({ length: 8 - head.length - tail.length }, () => '0');
  const number = [...head, ...zeros, ...tail].reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n);
  const base = (number >> BigInt(hostBits)) << BigInt(hostBits);
  const words = Array.from({ length: 8 }, (_, index) => ((base >> BigInt(112 - 16 * index)) & 0xffffn).toString(16));
  return `${words.join(':')}/${128 - hostBits}`;
}
