// SPDX-License-Identifier: Apache-2.0
/**
 * The oracle's model out of documents. Files say what shall be, not what is: pods are then taken from the templates of workloads, one for each,
 * and addresses that are not known yet are assumed. What was assumed is told in notes.
 */
import type {
  Labels,
  Model,
  ModelNode,
  ModelPod,
  ModelService,
  TransportProtocol,
} from '../../suites/oracles/reachability/model.ts';
import { decodeClusterNetworkPolicy, decodeNetworkPolicy } from './policy-decode.ts';
import { isRecord, type SourceDocument } from './policy-documents.ts';

export interface ServedPort {
  readonly protocol: TransportProtocol;
  readonly port: number;
}

export interface PolicyInput {
  readonly model: Model;
  /** Ports that containers declare, each once. */
  readonly servedPorts: readonly ServedPort[];
  /** Namespaces that there is an object of; others were only mentioned. */
  readonly knownNamespaces: ReadonlySet<string>;
  /** Policy documents, for saying where a policy stands. */
  readonly policyDocuments: readonly SourceDocument[];
  readonly notes: readonly string[];
}

type Plain = Readonly<Record<string, unknown>>;

interface PodShape {
  readonly document: SourceDocument;
  readonly labels: Labels;
  readonly spec: Plain;
  readonly status: Plain;
}

const workloads = new Set(['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'Job', 'CronJob']);

export function policyInput(documents: readonly SourceDocument[]): PolicyInput {
  const ofKind = (kind: string, group: string): SourceDocument[] =>
    documents.filter((one) => one.kind === kind && one.group === group);
  const networkPolicies = ofKind('NetworkPolicy', 'networking.k8s.io');
  const clusterNetworkPolicies = ofKind('ClusterNetworkPolicy', 'policy.networking.k8s.io');
  const namespaceDocuments = ofKind('Namespace', '');
  const shapes = podShapes(documents);
  const assume = assumedAddresses();
  const pods = shapes.map((shape) => toPod(shape, assume.pod));
  const slices = ofKind('EndpointSlice', 'discovery.k8s.io');
  const mentioned = documents.map(({ namespace }) => namespace).filter((name) => name !== '');
  const named = (name: string): Labels => ({ 'kubernetes.io/metadata.name': name });
  const model: Model = {
    pods,
    nodes: ofKind('Node', '').map(toNode),
    namespaces: new Map([
      ...mentioned.map((name) => [name, named(name)] as const),
      ...namespaceDocuments.map(
        (one) => [one.name, { ...labelsOf(metadataOf(one.content)), ...named(one.name) }] as const,
      ),
    ]),
    services: ofKind('Service', '').map((one) => toService(one, slices, assume.service)),
    policies: networkPolicies.map(decodeNetworkPolicy),
    clusterPolicies: clusterNetworkPolicies.map(decodeClusterNetworkPolicy),
  };
  const declared = shapes.flatMap(({ spec }) => containerPorts(spec)).map(({ protocol, port }) => ({ protocol, port }));
  const notes =
    assume.count() === 0
      ? []
      : [`pods and Services without an address yet: ${assume.count()}; addresses were assumed for them`];
  return {
    model,
    servedPorts: [...new Map(declared.map((one) => [`${one.port}/${one.protocol}`, one])).values()].toSorted(
      (a, b) => a.port - b.port || a.protocol.localeCompare(b.protocol),
    ),
    knownNamespaces: new Set(namespaceDocuments.map(({ name }) => name)),
    policyDocuments: [...networkPolicies, ...clusterNetworkPolicies],
    notes,
  };
}

/** Pods that are there and have not ended; templates of workloads only where no pod of theirs is there. */
function podShapes(documents: readonly SourceDocument[]): PodShape[] {
  const pods = documents
    .filter(({ kind, group }) => kind === 'Pod' && group === '')
    .map((document): PodShape => ({ document, ...podParts(document.content) }))
    .filter(({ status }) => status['phase'] !== 'Succeeded' && status['phase'] !== 'Failed');
  const templates = documents
    .filter(({ kind, group }) => workloads.has(kind) && (group === 'apps' || group === 'batch'))
    .flatMap((document): PodShape[] => {
      const spec = recordAt(document.content, 'spec');
      const owner = document.kind === 'CronJob' ? recordAt(recordAt(spec, 'jobTemplate'), 'spec') : spec;
      return [{ document, ...podParts(recordAt(owner, 'template')) }];
    })
    .filter(
      ({ document, labels }) =>
        !pods.some(
          (pod) =>
            pod.document.namespace === document.namespace &&
            Object.entries(labels).every(([key, value]) => pod.labels[key] === value),
        ),
    );
  return [...pods, ...templates];
}

function podParts(content: Plain): Omit<PodShape, 'document'> {
  return {
    labels: labelsOf(metadataOf(content)),
    spec: recordAt(content, 'spec'),
    status: recordAt(content, 'status'),
  };
}

function toPod({ document, labels, spec, status }: PodShape, assume: (hostNetwork: boolean) => string[]): ModelPod {
  const hostNetwork = spec['hostNetwork'] === true;
  const given = [...listAt(status, 'podIPs').map(({ ip }) => ip), status['podIP']].filter(
    (ip): ip is string => typeof ip === 'string' && ip !== '',
  );
  const ready = listAt(status, 'conditions').find(({ type }) => type === 'Ready');
  return {
    namespace: document.namespace,
    name: document.name,
    labels,
    addresses: given.length > 0 ? [...new Set(given)] : assume(hostNetwork),
    node: textAt(spec, 'nodeName'),
    namedPorts: Object.fromEntries(
      containerPorts(spec).flatMap(({ name, protocol, port }) => (name === '' ? [] : [[`${protocol}/${name}`, port]])),
    ),
    hostNetwork,
    ready: ready === undefined || ready['status'] === 'True',
  };
}

function containerPorts(spec: Plain): (ServedPort & { readonly name: string })[] {
  return listAt(spec, 'containers')
    .flatMap((container) => listAt(container, 'ports'))
    .flatMap((one) => {
      const port = one['containerPort'];
      return typeof port === 'number' ? [{ name: textAt(one, 'name'), protocol: protocolOf(one), port }] : [];
    });
}

function toNode({ name, content }: SourceDocument): ModelNode {
  const addresses = listAt(recordAt(content, 'status'), 'addresses')
    .filter(({ type }) => type === 'InternalIP' || type === 'ExternalIP')
    .map((one) => textAt(one, 'address'));
  return { name, labels: labelsOf(metadataOf(content)), addresses };
}

function toService(
  { namespace, name, content }: SourceDocument,
  slices: readonly SourceDocument[],
  assume: () => string[],
): ModelService {
  const spec = recordAt(content, 'spec');
  const clusterIPs = [...textsAt(spec, 'clusterIPs'), textAt(spec, 'clusterIP')].filter((one) => one !== '');
  const headless = clusterIPs.includes('None') || spec['type'] === 'ExternalName';
  const ingress = listAt(recordAt(recordAt(content, 'status'), 'loadBalancer'), 'ingress').map((one) =>
    textAt(one, 'ip'),
  );
  const own = slices.filter(
    (one) => one.namespace === namespace && labelsOf(metadataOf(one.content))['kubernetes.io/service-name'] === name,
  );
  return {
    namespace,
    name,
    clusterIPs: headless ? [] : clusterIPs.length > 0 ? [...new Set(clusterIPs)] : assume(),
    externalIPs: [...textsAt(spec, 'externalIPs'), ...ingress].filter((one) => one !== ''),
    selector:
      isRecord(spec['selector']) && Object.keys(spec['selector']).length > 0 ? strings(spec['selector']) : undefined,
    ports: listAt(spec, 'ports').flatMap((one) => {
      const { port, targetPort, nodePort } = one;
      if (typeof port !== 'number') return [];
      const target = typeof targetPort === 'number' || typeof targetPort === 'string' ? targetPort : port;
      return [
        {
          name: textAt(one, 'name'),
          protocol: protocolOf(one),
          port,
          targetPort: target,
          ...(typeof nodePort === 'number' && nodePort > 0 && { nodePort }),
        },
      ];
    }),
    endpoints: own.flatMap((slice) =>
      listAt(slice.content, 'endpoints')
        .filter((endpoint) => recordAt(endpoint, 'conditions')['ready'] !== false)
        .flatMap((endpoint) =>
          textsAt(endpoint, 'addresses').flatMap((address) =>
            listAt(slice.content, 'ports').flatMap((one) => {
              const { port } = one;
              return typeof port === 'number' ? [{ address, port, portName: textAt(one, 'name') }] : [];
            }),
          ),
        ),
    ),
    publishNotReadyAddresses: spec['publishNotReadyAddresses'] === true,
    internalTrafficPolicy: spec['internalTrafficPolicy'] === 'Local' ? 'Local' : 'Cluster',
    externalTrafficPolicy: spec['externalTrafficPolicy'] === 'Local' ? 'Local' : 'Cluster',
  };
}

/** One address after the other of the ranges that clusters use by custom, in both families. */
function assumedAddresses() {
  let pods = 0;
  let services = 0;
  const next = (number: number, four: string, six: string): string[] => [
    `${four}.${Math.floor(number / 250)}.${1 + (number % 250)}`,
    `${six}::${number.toString(16)}`,
  ];
  return {
    pod: (hostNetwork: boolean): string[] => {
      pods += 1;
      return hostNetwork ? next(pods, '172.31', 'fd00:172:31') : next(pods, '10.244', 'fd00:10:244');
    },
    service: (): string[] => next(++services, '10.96', 'fd00:10:96'),
    count: (): number => pods + services,
  };
}

function protocolOf(one: Plain): TransportProtocol {
  const protocol = textAt(one, 'protocol').toLowerCase();
  return protocol === 'udp' || protocol === 'sctp' ? protocol : 'tcp';
}

function metadataOf(content: Plain): Plain {
  return recordAt(content, 'metadata');
}

function labelsOf(metadata: Plain): Labels {
  return strings(recordAt(metadata, 'labels'));
}

function strings(record: Plain): Record<string, string> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, String(value)]));
}

function recordAt(record: Plain, key: string): Plain {
  const value = record[key];
  return isRecord(value) ? value : {};
}

function listAt(record: Plain, key: string): Plain[] {
  const value = record[key];
  return Array.isArray(value) ? value.filter(isRecord) : [];
}

function textsAt(record: Plain, key: string): string[] {
  const value = record[key];
  return Array.isArray(value) ? value.filter((one): one is string => typeof one === 'string') : [];
}

function textAt(record: Plain, key: string): string {
  const value = record[key];
  return typeof value === 'string' ? value : '';
}
