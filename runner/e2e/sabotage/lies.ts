// SPDX-License-Identifier: Apache-2.0
/**
 * Lies of a cluster, by name. Most leave out of an object what a broken component would not heed: the object is made without the field,
 * and what the cluster then does is what that component would do. Only objects of cases are touched, so that the run itself gets going.
 */
import type { Answer, Call, Json, Lie } from './lying-proxy.ts';

/** Namespaces that the run makes for itself: its own, the trial of the policy feature, the node probes. */
const ownNamespace = /^plumb-(run|feature-policy|nodes)-[0-9a-f]{6}$/;

export const lies = {
  'loses every second watch event': () => {
    let count = 0;
    return { event: (call) => call.resource !== 'configmaps' || count++ % 2 === 0 };
  },
  'lets the last writer win': () =>
    changing(['PUT'], 'configmaps', (body) => drop(body['metadata'], 'resourceVersion')),
  'forces every apply': () => ({
    request: ({ method, url, contentType }) => {
      if (method === 'PATCH' && contentType.includes('apply-patch')) url.searchParams.set('force', 'true');
    },
  }),
  'ignores finalizers': () => creating('configmaps', (body) => drop(body['metadata'], 'finalizers')),
  'ignores owners': () => creating('configmaps', (body) => drop(body['metadata'], 'ownerReferences')),
  'forgets to continue lists': () => ({
    answer: ({ method, resource }, { body }) => {
      if (method === 'GET' && resource === 'configmaps') drop(body['metadata'], 'continue');
    },
  }),
  'ignores selectors': () => ({
    request: ({ method, url, resource }) => {
      if (method !== 'GET' || resource !== 'configmaps') return;
      url.searchParams.delete('labelSelector');
      url.searchParams.delete('fieldSelector');
    },
  }),
  'accepts unknown fields': () => ({
    request: ({ url }) => {
      url.searchParams.delete('fieldValidation');
    },
  }),
  'ignores schemas': () =>
    creating('customresourcedefinitions', (body) => {
      for (const version of array(object(body['spec'])['versions']))
        version['schema'] = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
    }),
  'keeps kinds whose definition is deleted': () => {
    let isFirst = true;
    return {
      request: ({ method, resource }) => {
        if (method !== 'DELETE' || resource !== 'customresourcedefinitions' || !isFirst) return;
        // Only once, so that the clean-up of the run succeeds.
        isFirst = false;
        return 'forget';
      },
    };
  },
  'forgets deletions of pods': () => ({
    request: ({ method, resource, name, subresource }) =>
      method === 'DELETE' && resource === 'pods' && name !== undefined && subresource === undefined
        ? 'forget'
        : undefined,
  }),
  'ignores what Services ask for': () =>
    creating('services', (body) => {
      const spec = object(body['spec']);
      for (const field of [
        'sessionAffinity',
        'externalTrafficPolicy',
        'internalTrafficPolicy',
        'publishNotReadyAddresses',
      ]) {
        drop(spec, field);
      }
      for (const port of array(spec['ports'])) if (port['targetPort'] === 'web') port['targetPort'] = 8080;
    }),
  'ignores further fields of Services': () =>
    creating('services', (body) => {
      for (const field of [
        'externalIPs',
        'loadBalancerSourceRanges',
        'sessionAffinityConfig',
        'trafficDistribution',
        'ipFamilyPolicy',
        'ipFamilies',
      ]) {
        drop(body['spec'], field);
      }
    }),
  'gives no load balancer': () =>
    creating('services', (body) => {
      const spec = object(body['spec']);
      if (spec['type'] === 'LoadBalancer') spec['loadBalancerClass'] = 'plumbline.io/nobody';
    }),
  'ends containers at once': () =>
    eachPod((spec) => {
      spec['terminationGracePeriodSeconds'] = 0;
    }),
  'uses endpoints of the own node only': () =>
    creating('services', (body) => {
      object(body['spec'])['internalTrafficPolicy'] = 'Local';
    }),
  'ignores EndpointSlices that somebody wrote': () =>
    creating('endpointslices', (body) => drop(body['metadata'], 'labels')),
  'ignores what pods ask for': () =>
    eachPod((spec) => {
      for (const field of ['enableServiceLinks', 'hostAliases', 'subdomain', 'schedulingGates']) drop(spec, field);
      for (const container of array(spec['containers'])) drop(container, 'readinessProbe');
    }),
  'gives every pod the resolv.conf of its node': () =>
    eachPod((spec) => {
      drop(spec, 'dnsConfig');
      spec['dnsPolicy'] = 'Default';
    }),
  'takes every name for complete': () =>
    eachPod((spec) => {
      if (spec['dnsPolicy'] === undefined) spec['dnsConfig'] = { options: [{ name: 'ndots', value: '1' }] };
      else drop(spec, 'dnsConfig');
    }),
  'ignores where pods want to be': () =>
    eachPod((spec) => {
      for (const field of ['affinity', 'nodeSelector', 'topologySpreadConstraints', 'tolerations']) drop(spec, field);
    }),
  'ignores what pods need': () =>
    eachPod((spec) => {
      for (const container of array(spec['containers'])) {
        drop(container, 'resources');
        drop(container, 'ports');
      }
    }),
  'replaces all pods at once': () =>
    creating('deployments', (body) => {
      object(body['spec'])['strategy'] = { type: 'Recreate' };
    }),
  'starts the pods of a set all at once': () =>
    creating('statefulsets', (body) => {
      object(body['spec'])['podManagementPolicy'] = 'Parallel';
    }),
  'leaves out nodes': () =>
    creating('daemonsets', (body) => {
      templateSpec(body)['nodeSelector'] = { 'kubernetes.io/os': 'none' };
    }),
  'counts no completions': () => creating('jobs', (body) => drop(body['spec'], 'completions')),
  'evicts without asking': () => ({
    request: (call) => {
      if (call.subresource !== 'eviction') return;
      return { status: 201, body: { kind: 'Status', apiVersion: 'v1', status: 'Success' } };
    },
  }),
  'stores policies and does not enforce them': () =>
    policies((spec) => {
      for (const field of ['ingress', 'egress']) drop(spec, field);
      spec['podSelector'] = { matchLabels: { nobody: 'here' } };
    }),
  'ignores ports of policies': () => policies((spec) => eachRule(spec, (rule) => drop(rule, 'ports'))),
  'takes the end of a port range for its only port': () =>
    policies((spec) =>
      eachRule(spec, (rule) => {
        for (const port of array(rule['ports'])) {
          if (port['endPort'] !== undefined) port['port'] = port['endPort'];
          drop(port, 'endPort');
        }
      }),
    ),
  'takes names of ports for 8080': () =>
    policies((spec) =>
      eachRule(spec, (rule) => {
        for (const port of array(rule['ports'])) if (port['port'] === 'web') port['port'] = 8080;
      }),
    ),
  'ignores namespaces of peers': () =>
    policies((spec) =>
      eachPeer(spec, (peer) => {
        if (peer['namespaceSelector'] !== undefined) peer['namespaceSelector'] = {};
      }),
    ),
  'ignores pods of peers': () =>
    policies((spec) =>
      eachPeer(spec, (peer) => {
        if (peer['podSelector'] !== undefined) peer['podSelector'] = {};
      }),
    ),
  'takes a pod selector alone for all namespaces': () =>
    policies((spec) =>
      eachPeer(spec, (peer) => {
        if (peer['podSelector'] !== undefined) peer['namespaceSelector'] ??= {};
      }),
    ),
  'ignores exceptions of address blocks': () =>
    policies((spec) => eachPeer(spec, (peer) => drop(peer['ipBlock'], 'except'))),
  'knows only ingress': () =>
    policies((spec) => {
      drop(spec, 'egress');
      if (
        Array.isArray(spec['policyTypes']) &&
        spec['policyTypes'].length === 1 &&
        String(spec['policyTypes'][0]) === 'Egress'
      )
        spec['podSelector'] = { matchLabels: { nobody: 'here' } };
      drop(spec, 'policyTypes');
    }),
  'lets all UDP through': () =>
    policies((spec) => {
      const types = Array.isArray(spec['policyTypes']) ? spec['policyTypes'].map(String) : ['Ingress'];
      for (const [type, field] of [
        ['Ingress', 'ingress'],
        ['Egress', 'egress'],
      ] as const) {
        if (!types.includes(type)) continue;
        spec[field] = [...array(spec[field]), { ports: [{ protocol: 'UDP' }] }];
      }
    }),
  'knows only the first policy of a namespace': () => {
    const known = new Map<string, string>();
    return policies((spec, call, name) => {
      const first = known.get(call.namespace ?? '') ?? name;
      known.set(call.namespace ?? '', first);
      if (first !== name) spec['podSelector'] = { matchLabels: { nobody: 'here' } };
    });
  },
  'mixes up binding modes': () =>
    creating('storageclasses', (body) => {
      body['volumeBindingMode'] =
        body['volumeBindingMode'] === 'WaitForFirstConsumer' ? 'Immediate' : 'WaitForFirstConsumer';
    }),
  'mixes up reclaim policies': () =>
    creating('storageclasses', (body) => {
      body['reclaimPolicy'] = body['reclaimPolicy'] === 'Retain' ? 'Delete' : 'Retain';
    }),
  'forgets to grow claims': () => ({
    request: ({ method, resource }) =>
      method === 'PATCH' && resource === 'persistentvolumeclaims' ? 'forget' : undefined,
  }),
  'gives every pod an empty volume': () =>
    eachPod((spec) => {
      for (const volume of array(spec['volumes'])) {
        if (volume['persistentVolumeClaim'] === undefined) continue;
        drop(volume, 'persistentVolumeClaim');
        volume['emptyDir'] = {};
      }
    }),
  'loses writes to volumes': () => ({
    request: ({ subresource, url }) => {
      if (subresource !== 'exec') return;
      const commands = url.searchParams.getAll('command');
      url.searchParams.delete('command');
      for (const part of commands) url.searchParams.append('command', part.replace(/> \/data\/file/, '> /dev/null'));
    },
  }),
  'enforces no Pod Security level': () => ({
    request: (call) => {
      if (call.method !== 'POST' || call.resource !== 'pods' || !call.namespace?.startsWith('plumb-security-')) return;
      if (call.url.searchParams.get('dryRun') === null) return;
      return { status: 201, body: call.body ?? {} };
    },
  }),
  'issues tokens that do not expire': () => ({
    answer: ({ subresource }, { body }) => {
      if (subresource === 'token') object(body['status'])['expirationTimestamp'] = '2099-01-01T00:00:00Z';
    },
  }),
  'shows nodes in distress': () => ({
    answer: ({ method, resource, subresource }, { body }) => {
      if (method !== 'GET' || resource !== 'nodes' || subresource !== undefined) return;
      for (const node of 'items' in body ? array(body['items']) : [body]) {
        const status = object(node['status']);
        for (const condition of array(status['conditions']))
          if (condition['type'] === 'MemoryPressure') condition['status'] = 'True';
        object(status['allocatable'])['memory'] = '999Ti';
        object(status['nodeInfo'])['kubeletVersion'] = 'v1.20.0';
      }
    },
  }),
  'gives all nodes one pod range': () => ({
    answer: ({ method, resource, subresource }, { body }) => {
      if (method !== 'GET' || resource !== 'nodes' || subresource !== undefined) return;
      for (const node of 'items' in body ? array(body['items']) : [body])
        Object.assign(object(node['spec']), { podCIDRs: ['10.244.0.0/24'] });
    },
  }),
  'hides kubelets': () => ({
    request: ({ resource, subresource }) =>
      resource === 'nodes' && subresource?.startsWith('proxy') === true
        ? { status: 503, body: { kind: 'Status', apiVersion: 'v1', status: 'Failure', code: 503 } }
        : undefined,
  }),
  'ignores hosts of Ingresses': () =>
    creating('ingresses', (body) => {
      for (const rule of array(object(body['spec'])['rules'])) drop(rule, 'host');
    }),
  'takes every path of an Ingress for a prefix': () =>
    creating('ingresses', (body) =>
      eachIngressPath(body, (path) => {
        path['pathType'] = 'Prefix';
      }),
    ),
  'knows no port of a Service by name': () =>
    creating('ingresses', (body) =>
      eachIngressPath(body, (path) => {
        const service = object(object(path['backend'])['service']);
        if (object(service['port'])['name'] !== undefined) service['port'] = { number: 9 };
      }),
    ),
  'leads default backends nowhere': () =>
    creating('ingresses', (body) => {
      const service = object(object(object(body['spec'])['defaultBackend'])['service']);
      if (service['name'] !== undefined) service['name'] = 'nobody';
    }),
  'serves Ingresses of every class': () => creating('ingresses', (body) => drop(body['spec'], 'ingressClassName')),
  'ends TLS with one certificate': () => creating('ingresses', (body) => drop(body['spec'], 'tls')),
} as const satisfies Record<string, () => Lie>;

export type LieName = keyof typeof lies;

function changing(methods: readonly string[], resource: string, change: (body: Json, call: Call) => void): Lie {
  return {
    request: (call) => {
      if (!methods.includes(call.method) || call.resource !== resource || call.body === undefined) return;
      if (call.subresource === undefined && !ownNamespace.test(call.namespace ?? '')) change(call.body, call);
    },
  };
}

function creating(resource: string, change: (body: Json, call: Call) => void): Lie {
  return changing(['POST'], resource, change);
}

function eachPod(change: (spec: Json) => void): Lie {
  return creating('pods', (body) => change(object(body['spec'])));
}

function templateSpec(body: Json): Json {
  return object(object(object(body['spec'])['template'])['spec']);
}

function eachIngressPath(body: Json, change: (path: Json) => void): void {
  for (const rule of array(object(body['spec'])['rules'])) array(object(rule['http'])['paths']).forEach(change);
}

/** The server gets policies that are changed; whoever reads them sees what was asked for. */
function policies(change: (spec: Json, call: Call, name: string) => void): Lie {
  const asked = new Map<string, Json>();
  const restore = (item: Json): void => {
    const { namespace, name } = object(item['metadata']);
    const spec = asked.get(`${String(namespace)}/${String(name)}`);
    if (spec !== undefined) item['spec'] = spec;
  };
  const { request } = changing(['POST', 'PUT'], 'networkpolicies', (body, call) => {
    const name = String(object(body['metadata'])['name']);
    asked.set(`${call.namespace}/${name}`, structuredClone(object(body['spec'])));
    change(object(body['spec']), call, name);
  });
  return {
    ...(request !== undefined && { request }),
    answer: ({ resource }: Call, { body }: Answer) => {
      if (resource === 'networkpolicies')
        for (const item of 'items' in body ? array(body['items']) : [body]) restore(item);
    },
  };
}

function eachRule(spec: Json, change: (rule: Json) => void): void {
  for (const rule of [...array(spec['ingress']), ...array(spec['egress'])]) change(rule);
}

function eachPeer(spec: Json, change: (peer: Json) => void): void {
  eachRule(spec, (rule) => {
    for (const peer of [...array(rule['from']), ...array(rule['to'])]) change(peer);
  });
}

function object(value: Json[string]): Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
}

function array(value: Json[string]): Json[] {
  return Array.isArray(value) ? value : [];
}

function drop(holder: Json[string], field: string): void {
  Reflect.deleteProperty(object(holder), field);
}
