// SPDX-License-Identifier: Apache-2.0
/** What the objects say by themselves: pods that do not run, Services without endpoints, endpoints without pods, policies that name nothing. Pure. */
import type { V1ContainerStatus, V1OwnerReference, V1Pod, V1Service } from '@kubernetes/client-node';
import type { NetworkObjects } from '../target/network-objects.ts';
import type { Diagnosis } from './diagnosis.ts';
import { partyOfPod } from './parties.ts';

export interface EventWords {
  readonly reason: string;
  readonly message: string;
}

export interface PodEvent extends EventWords {
  /** `namespace/name`. */
  readonly pod: string;
}

export interface WorkloadInput {
  readonly objects: NetworkObjects;
  readonly events: readonly PodEvent[];
  /** Milliseconds since 1970, by the API server's clock. */
  readonly now: number;
}

/** Younger pods are still starting. */
const settledMs = 12_000;
/** What was started again after a bad end, and has run for longer, is taken to be well. */
const provenMs = 10_000;
/** Before a listener that is missing: a program that ends has none. */
const weights = { pod: 55, service: 60, crash: 63, dns: 65, node: 70, nobody: 79 } as const;

export function workloadDiagnoses(input: WorkloadInput): Diagnosis[] {
  return [
    ...podDiagnoses(input),
    ...crashDiagnoses(input),
    ...serviceDiagnoses(input),
    ...sliceDiagnoses(input),
    ...policyDiagnoses(input),
  ];
}

function podDiagnoses({ objects, events, now }: WorkloadInput): Diagnosis[] {
  return objects.pods.flatMap((pod): Diagnosis[] => {
    const { metadata, status, spec } = pod;
    if (hasDone(pod)) return [];
    const age = now - Date.parse(String(metadata?.creationTimestamp));
    const name = `${metadata?.namespace}/${metadata?.name}`;
    const node = spec?.nodeName;
    const told = containersOf(pod);
    const waiting = waitingOf(told);
    if (isCrashing(pod, now)) return [];
    const about = (reason: string, summary: string, more: Partial<Diagnosis> = {}): Diagnosis => ({
      ...aboutPod(objects, pod),
      reason,
      summary,
      ...more,
    });
    if (waiting !== undefined && /ImagePull|ErrImage|InvalidImageName/.test(waiting.reason ?? ''))
      return [about('image', `Pod ${name} does not start: ${waiting.message ?? waiting.reason}`)];
    if (age < settledMs) return [];
    if (status?.phase === 'Pending' && node === undefined) {
      const why = (status.conditions ?? []).find(({ type }) => type === 'PodScheduled')?.message;
      return [
        about(
          why === undefined ? 'not-scheduled' : 'unschedulable',
          `Pod ${name} has no node${why === undefined ? ', and no scheduler has said why' : `: ${why}`}.`,
          { component: why === undefined ? 'kube-scheduler' : 'application' },
        ),
      ];
    }
    if (status?.phase === 'Pending') {
      const event = events.findLast((one) => one.pod === name);
      const said = event?.message ?? waiting?.message ?? waiting?.reason ?? 'nothing says why';
      const { reason, component } = whyNotStarted(event?.reason ?? '', said);
      return [
        about(reason, `Pod ${name} does not start on ${node}: ${said}`, {
          component,
          ...(node === undefined ? {} : { node }),
          weight: weights.node,
        }),
      ];
    }
    const ready = (status?.conditions ?? []).find(({ type }) => type === 'Ready');
    if (status?.phase === 'Running' && ready?.status === 'False' && nodeIsReady(objects, node))
      return [
        about(
          'not-ready',
          `Pod ${name} runs and is not Ready: ${ready.message ?? ready.reason ?? 'nothing says why'}.`,
          { weight: weights.pod - 5 },
        ),
      ];
    return [];
  });
}

/** Pods whose containers end badly. A first run that ends within the diagnosis shows only in a reading of its end. */
export function crashDiagnoses({ objects, now }: Omit<WorkloadInput, 'events'>): Diagnosis[] {
  return objects.pods
    .filter((pod) => !hasDone(pod) && isCrashing(pod, now))
    .map((pod) => ({
      ...aboutPod(objects, pod),
      reason: 'crash-loop',
      summary: `A container of pod ${partyOfPod(pod).name} ends again and again: ${exitOf(containersOf(pod))}.`,
      weight: weights.crash,
    }));
}

/** How its containers ended says nothing any more. */
function hasDone({ metadata, status }: V1Pod): boolean {
  return metadata?.deletionTimestamp !== undefined || status?.phase === 'Succeeded';
}

function isCrashing(pod: V1Pod, now: number): boolean {
  const told = containersOf(pod);
  return (
    waitingOf(told)?.reason === 'CrashLoopBackOff' ||
    told.some(({ state, lastState, restartCount }) => {
      if (state?.terminated !== undefined)
        return state.terminated.exitCode !== 0 && (restartCount > 0 || pod.spec?.restartPolicy === 'Always');
      const since = Date.parse(String(state?.running?.startedAt));
      return now - since < provenMs && (lastState?.terminated?.exitCode ?? 0) !== 0;
    })
  );
}

function containersOf({ status }: V1Pod): V1ContainerStatus[] {
  return [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])];
}

function waitingOf(told: readonly V1ContainerStatus[]) {
  return told
    .map(({ state }) => state?.waiting)
    .find((one) => one?.reason !== undefined && one.reason !== 'PodInitializing');
}

/** All of a diagnosis that does not depend on what is wrong with the pod. */
function aboutPod(objects: NetworkObjects, pod: V1Pod): Omit<Diagnosis, 'reason' | 'summary'> {
  const { metadata } = pod;
  return {
    component: 'application',
    objects: [`Pod ${partyOfPod(pod).name}`, ...ownersOf(pod), ...servicesOf(objects, pod)],
    evidence: containersOf(pod).map(describeContainer),
    next: `kubectl describe pod -n ${metadata?.namespace} ${metadata?.name}; kubectl logs -n ${metadata?.namespace} ${metadata?.name} --previous`,
    weight: weights.pod,
  };
}

/** What a kubelet's complaint about a pod is about. */
export function whyNotStarted(
  reason: string,
  message: string,
): { readonly reason: string; readonly component: string } {
  if (/no IP addresses|exhausted|no addresses|range set/i.test(message))
    return { reason: 'addresses-exhausted', component: 'network' };
  if (/mount|volume|csi|attach/i.test(`${reason} ${message}`)) return { reason: 'storage', component: 'storage' };
  if (/cni|network/i.test(message)) return { reason: 'cni', component: 'network' };
  if (/containerd|cri-?o|docker|runtime service/i.test(message))
    return { reason: 'component-down', component: 'container-runtime' };
  return { reason: 'not-started', component: 'kubelet' };
}

function serviceDiagnoses({ objects, now }: WorkloadInput): Diagnosis[] {
  const found = objects.services.flatMap((service): Diagnosis[] => {
    const { metadata, spec } = service;
    const selector = Object.entries(spec?.selector ?? {});
    if (selector.length === 0 || spec?.type === 'ExternalName') return [];
    if (now - Date.parse(String(metadata?.creationTimestamp)) < settledMs / 4) return [];
    const name = `${metadata?.namespace}/${metadata?.name}`;
    const selected = podsOf(objects, service);
    const isDns = isDnsService(service);
    const ready = selected.filter((pod) => partyOfPod(pod).ready === true);
    const endpoints = readyEndpoints(objects, service);
    if (endpoints > 0) return [];
    const words = selector.map(([key, value]) => `${key}=${value}`).join(',');
    const why =
      selected.length === 0
        ? `its selector ${words} selects no pod`
        : ready.length === 0
          ? `none of its ${selected.length} pods is Ready`
          : 'its pods are Ready, and no EndpointSlice has them';
    return [
      {
        reason: 'no-endpoints',
        component: isDns ? 'dns' : selected.length > 0 && ready.length > 0 ? 'kube-controller-manager' : 'service',
        objects: [
          `Service ${name}`,
          ...selected.map((pod) => `Pod ${partyOfPod(pod).name}`),
          ...deploymentsLike(objects, service),
        ],
        summary: `Service ${name} has no endpoint: ${why}.`,
        evidence: selected.map((pod) => `Pod ${partyOfPod(pod).name}: ${pod.status?.phase}`),
        next:
          selected.length === 0
            ? 'Compare the selector with the labels of the pods that shall serve it.'
            : 'See why the pods are not Ready.',
        weight: isDns ? weights.dns : selected.length === 0 ? weights.service : weights.pod - 1,
      },
    ];
  });
  return [...found, ...missingDns(objects)];
}

/** Pods are told of a nameserver that no Service is. */
function missingDns({ services, pods }: NetworkObjects): Diagnosis[] {
  if (services.some(isDnsService)) return [];
  const servers = pods.filter(({ metadata }) => metadata?.labels?.['k8s-app'] === 'kube-dns');
  if (servers.length === 0) return [];
  return [
    {
      reason: 'missing-object',
      component: 'dns',
      objects: ['Service kube-system/kube-dns'],
      summary: `DNS servers run (${servers.length} pods), and there is no Service kube-system/kube-dns that leads to them.`,
      evidence: servers.map((pod) => `Pod ${partyOfPod(pod).name}`),
      next: 'Create the Service again, with the address that kubelets tell their pods (clusterDNS).',
      // What is sent to its address then gets lost somewhere.
      weight: weights.nobody,
    },
  ];
}

/** Ready endpoints of a Service with a selector whose addresses no pod has. */
function sliceDiagnoses({ objects }: WorkloadInput): Diagnosis[] {
  const known = new Set([
    ...objects.pods.flatMap(({ status }) => (status?.podIPs ?? []).map(({ ip }) => ip)),
    ...objects.nodes.flatMap(({ status }) => (status?.addresses ?? []).map(({ address }) => address)),
  ]);
  return objects.slices.flatMap((slice): Diagnosis[] => {
    const namespace = slice.metadata?.namespace;
    const of = slice.metadata?.labels?.['kubernetes.io/service-name'];
    const service = objects.services.find(({ metadata }) => metadata?.namespace === namespace && metadata?.name === of);
    if (service === undefined || Object.keys(service.spec?.selector ?? {}).length === 0) return [];
    const strange = (slice.endpoints ?? [])
      .filter(({ conditions }) => conditions?.ready !== false)
      .flatMap(({ addresses }) => addresses)
      .filter((address) => !known.has(address));
    if (strange.length === 0) return [];
    const manager = slice.metadata?.labels?.['endpointslice.kubernetes.io/managed-by'] ?? 'nobody';
    return [
      {
        reason: 'stale-endpoint',
        component: 'service',
        objects: [`EndpointSlice ${namespace}/${slice.metadata?.name}`, `Service ${namespace}/${of}`],
        summary: `EndpointSlice ${namespace}/${slice.metadata?.name} gives Service ${namespace}/${of} endpoints that no pod has: ${strange.slice(0, 5).join(', ')}.`,
        evidence: [`the slice is managed by ${manager}`],
        next: 'Delete the EndpointSlice if nobody maintains it.',
        // Packets to such an address are lost somewhere, which says nothing about where.
        weight: weights.nobody,
      },
    ];
  });
}

interface RawPolicy {
  readonly metadata: { readonly namespace: string; readonly name: string };
  readonly spec?: {
    readonly podSelector?: {
      readonly matchLabels?: Record<string, string>;
      readonly matchExpressions?: readonly unknown[];
    };
    readonly ingress?: readonly { readonly ports?: readonly { readonly port?: number | string }[] }[];
  };
}

/** A policy that lets a named port in that none of its pods has lets nothing in. */
function policyDiagnoses({ objects }: WorkloadInput): Diagnosis[] {
  return (objects.policies as readonly RawPolicy[]).flatMap(({ metadata, spec }): Diagnosis[] => {
    const selector = spec?.podSelector;
    if ((selector?.matchExpressions ?? []).length > 0) return [];
    const pods = objects.pods.filter(
      (pod) =>
        pod.metadata?.namespace === metadata.namespace &&
        Object.entries(selector?.matchLabels ?? {}).every(([key, value]) => pod.metadata?.labels?.[key] === value),
    );
    if (pods.length === 0) return [];
    const has = new Set(
      pods.flatMap((pod) => (pod.spec?.containers ?? []).flatMap(({ ports = [] }) => ports.map((port) => port.name))),
    );
    const missing = (spec?.ingress ?? [])
      .flatMap(({ ports = [] }) => ports.map(({ port }) => port))
      .filter((port): port is string => typeof port === 'string' && !has.has(port));
    if (missing.length === 0) return [];
    return [
      {
        reason: 'policy',
        component: 'network-policy',
        objects: [`NetworkPolicy ${metadata.namespace}/${metadata.name}`],
        summary: `NetworkPolicy ${metadata.namespace}/${metadata.name} lets in port "${missing.join('", "')}", which none of the ${pods.length} pods that it selects has.`,
        evidence: [`named ports of these pods: ${[...has].filter((one) => one !== undefined).join(', ') || 'none'}`],
        next: 'Correct the name of the port in the policy or in the pods.',
        weight: 85,
      },
    ];
  });
}

export function isDnsService({ metadata }: V1Service): boolean {
  return (
    metadata?.namespace === 'kube-system' &&
    (metadata.labels?.['k8s-app'] === 'kube-dns' || metadata.name === 'kube-dns')
  );
}

function readyEndpoints({ slices }: NetworkObjects, { metadata }: V1Service): number {
  return slices
    .filter(
      (slice) =>
        slice.metadata?.namespace === metadata?.namespace &&
        slice.metadata?.labels?.['kubernetes.io/service-name'] === metadata?.name,
    )
    .flatMap(({ endpoints }) => endpoints ?? [])
    .filter(({ conditions }) => conditions?.ready !== false).length;
}

function podsOf({ pods }: NetworkObjects, { metadata, spec }: V1Service): V1Pod[] {
  const selector = Object.entries(spec?.selector ?? {});
  return pods.filter(
    (pod) =>
      pod.metadata?.namespace === metadata?.namespace &&
      pod.metadata?.deletionTimestamp === undefined &&
      selector.every(([key, value]) => pod.metadata?.labels?.[key] === value),
  );
}

/** Deployments are not read for this; pods tell theirs by their owners' names. */
export function ownersOf({ metadata }: V1Pod): string[] {
  return (metadata?.ownerReferences ?? []).map((owner: V1OwnerReference) =>
    owner.kind === 'ReplicaSet'
      ? `Deployment ${metadata?.namespace}/${owner.name.replace(/-[a-z0-9]+$/, '')}`
      : `${owner.kind} ${metadata?.namespace}/${owner.name}`,
  );
}

function deploymentsLike(objects: NetworkObjects, service: V1Service): string[] {
  return [...new Set(podsOf(objects, service).flatMap(ownersOf))];
}

function servicesOf({ services }: NetworkObjects, { metadata }: V1Pod): string[] {
  return services
    .filter(({ metadata: own, spec }) => {
      const selector = Object.entries(spec?.selector ?? {});
      return (
        own?.namespace === metadata?.namespace &&
        selector.length > 0 &&
        selector.every(([key, value]) => metadata?.labels?.[key] === value)
      );
    })
    .map(({ metadata: own }) => `Service ${own?.namespace}/${own?.name}`);
}

function nodeIsReady({ nodes }: NetworkObjects, name: string | undefined): boolean {
  const node = nodes.find(({ metadata }) => metadata?.name === name);
  return (node?.status?.conditions ?? []).some(({ type, status }) => type === 'Ready' && status === 'True');
}

function describeContainer({ name, state, restartCount, lastState }: V1ContainerStatus): string {
  const now = state?.waiting?.reason ?? state?.terminated?.reason ?? 'running';
  const before = lastState?.terminated;
  return `container ${name}: ${now}, ${restartCount} restarts${before === undefined ? '' : `, ended before with ${before.exitCode} (${before.reason})`}`;
}

function exitOf(told: readonly V1ContainerStatus[]): string {
  const last = told
    .map(({ lastState, state }) => state?.terminated ?? lastState?.terminated)
    .find((one) => one !== undefined);
  return last === undefined ? 'nothing says why' : `it ended with ${last.exitCode} (${last.reason ?? 'no reason'})`;
}
