// SPDX-License-Identifier: Apache-2.0
/**
 * A made-up run with one of everything that a reporter has to tell, for the golden tests of all reporters: every status, evidence of each sort, characters that
 * XML, HTML, Markdown and YAML trip over, a retry, a disturbance, a failed snapshot section.
 */
import type { CaseDescription, EventBody, ResultEvent } from '../runner/results/events.ts';
import { foldEvents } from '../runner/results/run-record.ts';
import type { ReportInput } from './report.ts';

const start = Date.parse('2026-11-21T09:30:00.000Z');

function at(ms: number, body: EventBody): ResultEvent {
  return { ...body, time: new Date(start + ms).toISOString() } as ResultEvent;
}

function describe(id: string, title: string, extra: Partial<CaseDescription> = {}): CaseDescription {
  return {
    id,
    area: id.split('.')[0] ?? '',
    title,
    description: `What is meant by: ${title}.`,
    requirements: ['001-10.3'],
    modes: ['quick', 'full'],
    needs: [],
    serial: false,
    timeoutMs: 120_000,
    ...extra,
  };
}

const tricky = 'expected <b>"200 & OK"</b> to equal \u0000\'503\'\nat line 2: `code` | table ]]> : yaml';

export const sampleEvents: readonly ResultEvent[] = [
  at(0, {
    type: 'run-started',
    schema: 1,
    runId: '20261121-093000-4f9a',
    uuid: '6f1c2d3e-0000-4000-8000-123456789abc',
    toolVersion: '0.1.0',
    mode: 'quick',
    skip: '^etcd',
    parallel: 2,
    target: { server: 'https://172.28.0.2:6443', context: 'plumb', embedded: true },
    image: 'plumbline.local/probe:0.1.0',
  }),
  at(20, {
    type: 'preflight-checked',
    name: 'API server',
    status: 'ok',
    message: 'v1.36.0 on linux/amd64',
    durationMs: 12,
  }),
  at(40, {
    type: 'preflight-checked',
    name: 'nodes',
    status: 'warning',
    message: '2 of 3 Ready; not Ready: plumb-worker2',
    remedy: 'kubectl describe nodes says why.',
    durationMs: 8,
  }),
  at(500, {
    type: 'cluster-observed',
    uid: 'b7a9a6a0-1111-4222-8333-444455556666',
    serverVersion: 'v1.36.0',
    platform: 'linux/amd64',
    nodes: ['plumb-control-plane', 'plumb-worker', 'plumb-worker2'].map((name, index) => ({
      name,
      ready: index < 2,
      roles: index === 0 ? ['control-plane'] : [],
      kubeletVersion: 'v1.36.0',
      containerRuntime: 'containerd://1.6.20',
      osImage: 'Debian GNU/Linux 12 (bookworm)',
      kernel: '6.18.0',
      architecture: 'amd64',
      internalIps: [`172.28.0.${index + 2}`],
      cpu: '2',
      memory: '24000000Ki',
    })),
    features: {
      'two-nodes': { present: true, detail: '2 Ready nodes for ordinary pods' },
      'metrics-api': { present: false, detail: 'metrics.k8s.io/v1beta1 answers 404' },
    },
  }),
  at(510, {
    type: 'plan-made',
    cases: [
      describe('services.cluster-ip.from-pod', 'A ClusterIP answers from a pod on another node'),
      describe('services.session-affinity.client-ip', 'Session affinity keeps a client on one endpoint'),
      describe('dns.service.a-record', 'A Service has an A record'),
      describe('api.metrics.pods', 'Pods have metrics', { needs: ['metrics-api'] }),
      describe('nodes.drain.budget', 'A drain respects a disruption budget', { serial: true }),
      describe('storage.expand.online', 'A volume grows while it is in use'),
    ],
  }),
  at(511, skipped('api.metrics.pods', 'needs the aggregated API metrics.k8s.io: metrics.k8s.io/v1beta1 answers 404')),
  at(520, { type: 'case-started', caseId: 'services.cluster-ip.from-pod', attempt: 1 }),
  at(521, { type: 'case-started', caseId: 'services.session-affinity.client-ip', attempt: 1 }),
  at(1400, {
    type: 'step-finished',
    caseId: 'services.cluster-ip.from-pod',
    name: 'start pods',
    passed: true,
    durationMs: 800,
  }),
  at(1900, {
    type: 'figure-measured',
    caseId: 'services.cluster-ip.from-pod',
    name: 'connect-p99',
    value: 1.7,
    unit: 'ms',
    limit: 50,
  }),
  at(2000, finished('services.cluster-ip.from-pod', { status: 'passed', startMs: 520, durationMs: 1480 })),
  at(2010, { type: 'case-started', caseId: 'dns.service.a-record', attempt: 1 }),
  at(2500, {
    type: 'step-finished',
    caseId: 'services.session-affinity.client-ip',
    name: 'ask ten times',
    passed: false,
    durationMs: 900,
  }),
  at(2600, attached('evidence/services.session-affinity.client-ip/verdict.txt', 'explanation', 108)),
  at(2601, attached('evidence/services.session-affinity.client-ip/client.pcap', 'detail', 24)),
  at(2602, attached('evidence/services.session-affinity.client-ip/client.txt', 'detail', 60)),
  at(2700, {
    ...finished('services.session-affinity.client-ip', { status: 'failed', startMs: 521, durationMs: 2179 }),
    reason: tricky,
    error: {
      name: 'AssertionError',
      message: tricky,
      step: 'ask ten times',
      expected: "[ '10.244.1.4' ]",
      actual: "[ '10.244.1.4', '10.244.2.9' ]",
      stack: 'at suites/services/session-affinity.cases.ts:41:9',
    },
    troubles: ['teardown: deleting Service echo: the API server answered 500'],
  }),
  at(2800, {
    type: 'cluster-disturbed',
    what: 'api-unreachable',
    subject: 'API server',
    message: 'the API server answers again after 3 s',
    durationMs: 3000,
  }),
  at(2900, {
    type: 'case-retried',
    caseId: 'dns.service.a-record',
    attempt: 1,
    reason: 'the exec stream to pod a ended',
  }),
  at(2940, {
    type: 'flake-observed',
    caseId: 'dns.service.a-record',
    what: 'the answer was right, then wrong, then right again',
  }),
  at(2950, { type: 'case-started', caseId: 'dns.service.a-record', attempt: 2 }),
  at(3500, {
    ...finished('dns.service.a-record', { status: 'inconclusive', startMs: 2950, durationMs: 550 }),
    attempts: 2,
    reason: 'the exec stream to pod a ended',
    error: { name: 'InconclusiveError', message: 'the exec stream to pod a ended' },
  }),
  at(3600, { type: 'case-started', caseId: 'nodes.drain.budget', attempt: 1 }),
  at(3650, { type: 'message-logged', level: 'info', message: 'evicting pod web-0', caseId: 'nodes.drain.budget' }),
  at(5600, finished('nodes.drain.budget', { status: 'passed', startMs: 3600, durationMs: 2000 })),
  at(5700, { type: 'snapshot-section', name: 'resources', files: 12, durationMs: 90 }),
  at(5800, {
    type: 'snapshot-section',
    name: 'hosts',
    files: 4,
    durationMs: 70,
    error: 'node plumb-worker2: connect ECONNREFUSED',
  }),
  at(5900, { type: 'cleaned-up', deleted: 7, left: ['Namespace plumb-x: still there after 90 s'] }),
  at(6000, {
    type: 'run-finished',
    verdict: 'failed',
    interrupted: false,
    durationMs: 6000,
    reason: '1 of 6 cases failed',
  }),
];

function finished(
  caseId: string,
  end: { readonly status: 'passed' | 'failed' | 'inconclusive'; readonly startMs: number; readonly durationMs: number },
) {
  const startedAt = new Date(start + end.startMs).toISOString();
  return {
    type: 'case-finished' as const,
    caseId,
    status: end.status,
    attempts: 1,
    startedAt,
    durationMs: end.durationMs,
  };
}

function skipped(caseId: string, reason: string) {
  return {
    type: 'case-finished' as const,
    caseId,
    status: 'skipped' as const,
    attempts: 0,
    startedAt: '',
    durationMs: 0,
    reason,
  };
}

function attached(file: string, role: 'explanation' | 'detail', bytes: number) {
  const mediaType = file.endsWith('.pcap') ? 'application/vnd.tcpdump.pcap' : 'text/plain';
  const caseId = 'services.session-affinity.client-ip';
  return {
    type: 'evidence-attached' as const,
    caseId,
    attempt: 1,
    file,
    mediaType,
    bytes,
    role,
    summary: 'seen at the <client>',
  };
}

const node = (name: string, status: string): object => ({
  metadata: { name },
  status: {
    conditions: [{ type: 'Ready', status, reason: 'KubeletReady', message: 'kubelet is posting ready status' }],
  },
});

const files = new Map<string, string>([
  [
    'evidence/services.session-affinity.client-ip/verdict.txt',
    'The second connection left pod client on plumb-worker and was sent to 10.244.2.9: the affinity map is empty <&>.',
  ],
  ['evidence/services.session-affinity.client-ip/client.pcap', '\u0001\u0002\u0003'],
  [
    'evidence/services.session-affinity.client-ip/client.txt',
    'IP 10.244.1.3.40000 > 10.96.12.7.80: Flags [S], length 0 <tag>\n',
  ],
  [
    'snapshot/resources/cluster/core_v1_nodes.json',
    JSON.stringify({
      kind: 'NodeList',
      apiVersion: 'v1',
      items: [node('plumb-worker', 'True'), node('plumb-worker2', 'False')],
    }),
  ],
  [
    'snapshot/resources/ns/kube-system/core_v1_pods.json',
    JSON.stringify({
      items: [
        { metadata: { name: 'coredns', namespace: 'kube-system' }, status: { phase: 'Running' } },
        {
          metadata: { name: 'stuck', namespace: 'kube-system' },
          status: {
            phase: 'Pending',
            conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/3 nodes' }],
          },
        },
      ],
    }),
  ],
  ['snapshot/podlogs/kube-system/coredns/logs/dns.txt', 'started\nE1121 broken\nW1121 careful\nError: x\n'],
  ['snapshot/serverversion.json', JSON.stringify({ gitVersion: 'v1.36.0' })],
]);

export const sampleRun: ReportInput = {
  record: foldEvents(sampleEvents),
  events: sampleEvents,
  files: {
    list: () => [...files.keys()].toSorted(),
    read: (path) => {
      const content = files.get(path);
      return content === undefined ? undefined : new TextEncoder().encode(content);
    },
  },
};
