// SPDX-License-Identifier: Apache-2.0
/** Manifests of the two kinds of probe pods: ordinary ones, which Pod Security level `restricted` admits, and node probes. */
import type { V1Container, V1Pod, V1PodSpec, V1Toleration } from '@kubernetes/client-node';
import { controlPort, type Listen } from './protocol.ts';

export const probeContainer = 'probe';

/** The way from an exec into an ordinary probe pod to its agent: no second agent process is needed. */
export const controlCommand = ['/bin/busybox', 'nc', '127.0.0.1', String(controlPort)];
/** A node probe's agent runs only while somebody talks to it. */
export const stdioCommand = ['/usr/bin/node', '/app/agent.mjs', 'stdio'];
const keeperCommand = ['/usr/bin/node', '--max-semi-space-size=1', '--v8-pool-size=1', '/app/agent.mjs', 'keeper'];

export interface PodOptions {
  readonly name: string;
  readonly namespace: string;
  readonly image: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Node that the scheduler shall choose; absent: any. */
  readonly node?: string;
  /** Ports on which the agent answers. */
  readonly listen: readonly Listen[];
  /** Names for container ports, such as `{ web: 'tcp/8080' }`. */
  readonly portNames?: Readonly<Record<string, `${'tcp' | 'udp'}/${number}`>>;
  /** Anything else of the pod's spec; wins over what is made here. */
  readonly spec?: Partial<V1PodSpec>;
  /** Anything else of the container. */
  readonly container?: Partial<V1Container>;
}

export function probePod(options: PodOptions): V1Pod {
  const { name, namespace, image, labels, annotations, node, listen, portNames = {} } = options;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace,
      labels: { app: name, ...labels },
      ...(annotations && { annotations: { ...annotations } }),
    },
    spec: {
      terminationGracePeriodSeconds: 0,
      automountServiceAccountToken: false,
      securityContext: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: 'RuntimeDefault' } },
      ...(node !== undefined && { affinity: onNode(node) }),
      containers: [
        {
          name: probeContainer,
          image,
          imagePullPolicy: 'IfNotPresent',
          env: [{ name: 'PLUMB_LISTEN', value: listen.map(({ protocol, port }) => `${protocol}/${port}`).join(',') }],
          ports: Object.entries(portNames).map(([portName, text]) => {
            const [protocol = 'tcp', port] = text.split('/');
            return { name: portName, protocol: protocol.toUpperCase(), containerPort: Number(port) };
          }),
          resources: { requests: { cpu: '1m', memory: '16Mi' } },
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
          ...options.container,
        },
      ],
      ...options.spec,
    },
  };
}

const everywhere: V1Toleration[] = [{ operator: 'Exists' }];

export interface NodeProbeOptions {
  readonly name: string;
  readonly namespace: string;
  readonly image: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly node: string;
  /** The kubelet ends the pod after this time, whatever becomes of who started it. */
  readonly lifeSeconds?: number;
  /** Makes the pod delete its namespace when this Lease in it is no longer renewed; its ServiceAccount must be allowed to. */
  readonly keeperOfLease?: string;
}

/** Host network and pid namespace, privileged: sees every interface and rule of the node. Waits until somebody execs in it. */
export function nodeProbePod(options: NodeProbeOptions): V1Pod {
  const { name, namespace, image, labels, node, lifeSeconds, keeperOfLease } = options;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels: { ...labels } },
    spec: {
      terminationGracePeriodSeconds: 0,
      automountServiceAccountToken: keeperOfLease !== undefined,
      ...(lifeSeconds !== undefined && { activeDeadlineSeconds: lifeSeconds, restartPolicy: 'Never' }),
      hostNetwork: true,
      hostPID: true,
      dnsPolicy: 'Default',
      // Without the scheduler, which may be what is broken.
      nodeName: node,
      tolerations: everywhere,
      containers: [
        {
          name: probeContainer,
          image,
          imagePullPolicy: 'IfNotPresent',
          ...(keeperOfLease === undefined
            ? { command: ['/bin/busybox', 'sleep', '1000000'] }
            : { command: keeperCommand, env: [{ name: 'PLUMB_LEASE', value: keeperOfLease }] }),
          resources: { requests: { cpu: '1m', memory: '16Mi' } },
          securityContext: { privileged: true, runAsUser: 0 },
        },
      ],
    },
  };
}

/** By name of the Node object, not by the hostname label, which may be another. */
function onNode(node: string): NonNullable<V1PodSpec['affinity']> {
  return {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [{ matchFields: [{ key: 'metadata.name', operator: 'In', values: [node] }] }],
      },
    },
  };
}
