// SPDX-License-Identifier: Apache-2.0
/** The objects that the API benchmarks write: of the size and shape of everyday ones. */

export function podName(index: number): string {
  return `load-${index}`;
}

export interface LoadPodOptions {
  /** Requests that a scheduler must count. */
  readonly requests?: Readonly<Record<string, string>>;
  /** Hollow nodes are never Ready in the eyes of admission, which taints them. */
  readonly toleratesEverything?: boolean;
}

export function loadPod(name: string, { requests, toleratesEverything = false }: LoadPodOptions = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: 'load', 'app.kubernetes.io/name': 'load', 'app.kubernetes.io/instance': name } },
    spec: {
      automountServiceAccountToken: false,
      containers: [
        {
          name: 'web',
          image: 'registry.example/web:1.2.3',
          env: [
            { name: 'LEVEL', value: 'info' },
            { name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
          ],
          ports: [{ name: 'http', containerPort: 8080 }],
          readinessProbe: { httpGet: { path: '/ready', port: 'http' }, periodSeconds: 5 },
          resources: { requests: requests ?? { cpu: '100m', memory: '64Mi' }, limits: { memory: '128Mi' } },
        },
      ],
      ...(toleratesEverything && { tolerations: [{ operator: 'Exists' }] }),
    },
  };
}

/** A Node object without a machine. */
export function hollowNode(index: number): object {
  const name = `hollow-${index}`;
  const amounts = { cpu: '32', memory: '64Gi', pods: '110', 'ephemeral-storage': '100Gi' };
  const zone = `zone-${index % 3}`;
  const now = new Date().toISOString().replace(/\.\d+/, '');
  const condition = (type: string, status: string) => ({
    type,
    status,
    reason: 'Hollow',
    message: 'no machine behind it',
    lastHeartbeatTime: now,
    lastTransitionTime: now,
  });
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name,
      labels: {
        'kubernetes.io/hostname': name,
        'kubernetes.io/os': 'linux',
        'kubernetes.io/arch': 'amd64',
        'topology.kubernetes.io/zone': zone,
      },
    },
    status: {
      capacity: amounts,
      allocatable: amounts,
      conditions: [
        condition('MemoryPressure', 'False'),
        condition('DiskPressure', 'False'),
        condition('PIDPressure', 'False'),
        condition('Ready', 'True'),
      ],
      addresses: [
        { type: 'InternalIP', address: `10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}` },
        { type: 'Hostname', address: name },
      ],
    },
  };
}
