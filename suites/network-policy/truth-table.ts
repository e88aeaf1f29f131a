// SPDX-License-Identifier: Apache-2.0
/**
 * The truth table: nine pods in three namespaces on two nodes, every pair, four ports. The oracle says what each cell must be, the probes
 * say what it is, and both are compared cell by cell, same-node and cross-node apart.
 */
import { AssertionError } from 'chai';
import type { V1NetworkPolicy, V1NetworkPolicySpec } from '@kubernetes/client-node';
import { probeMatrix, type Cell, type CellResult } from '../../probes/connectivity/matrix.ts';
import type { ProbePod } from '../../probes/agent/prober.ts';
import type { CaseContext } from '../case.ts';
import { InconclusiveError } from '../case.ts';
import { judge } from '../oracles/reachability/oracle.ts';
import type { Model, ModelPod, Verdict } from '../oracles/reachability/model.ts';

/** Cases that use the table hold this lock: policies of two of them would mix. */
export const tableLock = 'policy-truth-table';

const namespaceKeys = ['x', 'y', 'z'] as const;
const podKeys = ['a', 'b', 'c'] as const;
export type NamespaceKey = (typeof namespaceKeys)[number];

const ports = [
  { protocol: 'tcp', port: 8080 },
  { protocol: 'tcp', port: 8081 },
  { protocol: 'udp', port: 8080 },
  { protocol: 'udp', port: 8081 },
] as const;
/** `b` serves `web` elsewhere than the others, so that a plugin that resolves names once for all pods is caught. */
const portNames = (pod: string): Record<string, `${'tcp' | 'udp'}/${number}`> => ({
  web: pod === 'b' ? 'tcp/8081' : 'tcp/8080',
  feed: 'udp/8080',
});

/** An answer that should come may take its time on a busy machine; silence that should be there must not cost much. */
const answerTimeoutMs = 3_000;
const silenceTimeoutMs = 700;
const settleMs = 15_000;
const concurrency = 36;

export interface Table {
  readonly pods: readonly ProbePod[];
  /** Real name of the namespace `x`, `y` or `z`. */
  readonly namespace: (key: NamespaceKey) => string;
  pod(key: `${NamespaceKey}/${'a' | 'b' | 'c'}`): ProbePod;
}

export interface TablePolicy {
  readonly in: NamespaceKey;
  readonly name: string;
  readonly spec: V1NetworkPolicySpec;
}

export async function openTable(t: CaseContext): Promise<Table> {
  const [first = '', second = first] = t.cluster.workers;
  const pods = await t.probes.shared({
    key: 'table',
    pods: namespaceKeys.flatMap((namespace, row) =>
      podKeys.map((pod, column) => ({
        purpose: namespace,
        name: pod,
        node: (row + column) % 2 === 0 ? first : second,
        labels: { pod, ns: namespace },
        listen: ports,
        portNames: portNames(pod),
      })),
    ),
  });
  const named = (namespace: string, pod: string): ProbePod => {
    const found = pods.find(({ labels, name }) => labels['ns'] === namespace && name === pod);
    if (found === undefined) throw new InconclusiveError(`the table has no pod ${namespace}/${pod}`);
    return found;
  };
  const table: Table = {
    pods,
    namespace: (key) => named(key, 'a').namespace,
    pod: (key) => named(...(key.split('/') as [string, string])),
  };
  // The labels that namespace selectors of the cases name.
  await Promise.all(
    namespaceKeys.map((key) =>
      t.kube.objects.patch(
        { apiVersion: 'v1', kind: 'Namespace', metadata: { name: table.namespace(key), labels: { ns: key } } },
        undefined,
        undefined,
        undefined,
        undefined,
        'application/merge-patch+json',
      ),
    ),
  );
  return table;
}

/** Creates the policies and sees to it that they are gone, from the API, at the end of the case. */
export async function applyPolicies(t: CaseContext, table: Table, policies: readonly TablePolicy[]): Promise<void> {
  for (const { in: key, name, spec } of policies) {
    const namespace = table.namespace(key);
    t.onTeardown(async () => void (await t.kube.networking.deleteNamespacedNetworkPolicy({ name, namespace })));
    await t.kube.networking.createNamespacedNetworkPolicy({ namespace, body: { metadata: { name }, spec } });
  }
}

/**
 * Probes until every cell is as the oracle says, at most 15 s, then once more in full. A cell that differs at the end fails the case; how
 * long it took until all were right is measured.
 */
export async function expectTruthTable(t: CaseContext, table: Table): Promise<void> {
  const model = await readModel(t, table);
  const expected = new Map<Cell, Verdict>();
  for (const source of table.pods) {
    for (const destination of table.pods) {
      for (const port of ports) {
        const verdict = verdictFor(model, { source, destination, ...port });
        const timeoutMs = verdict.allowed ? answerTimeoutMs : silenceTimeoutMs;
        expected.set({ source, destination, ...port, timeoutMs }, verdict);
      }
    }
  }
  const cells = [...expected.keys()];
  const began = performance.now();
  const probe = () => probeMatrix(cells, { concurrency });
  let results = await probe();
  let tries = 1;
  for (; !isGood(results, expected) && performance.now() - began < settleMs; tries++) results = await probe();
  t.measure({ name: 'time-to-enforce', value: Math.round(performance.now() - began), unit: 'ms' });
  t.measure({ name: 'cells', value: cells.length, unit: 'count' });
  // What has become right must stay right.
  if (isGood(results, expected)) results = await probe();
  assertControls(results);
  const wrong = wrongCells(results, expected);
  if (wrong.length === 0) return;
  await t.attach({
    name: 'truth-table.txt',
    content: drawTable(table, results, expected),
    summary: `${wrong.length} of ${cells.length} cells are wrong`,
  });
  const apart = (sameNode: boolean): number =>
    wrong.filter(({ cell }) => (cell.source.node === cell.destination.node) === sameNode).length;
  const error = new AssertionError(
    `${wrong.length} of ${cells.length} cells are not as the policies say after ${tries} tries ` +
      `(same node: ${apart(true)}, across nodes: ${apart(false)}); for example ${describe(wrong[0], expected)}`,
  );
  throw Object.assign(error, { attempt: wrong[0]?.result });
}

function isGood(results: readonly CellResult[], expected: ReadonlyMap<Cell, Verdict>): boolean {
  return wrongCells(results, expected).length === 0;
}

async function readModel(t: CaseContext, table: Table): Promise<Model> {
  const names = namespaceKeys.map((key) => table.namespace(key));
  const [namespaces, policies, pods] = await Promise.all([
    Promise.all(names.map((name) => t.kube.core.readNamespace({ name }))),
    Promise.all(names.map((namespace) => t.kube.networking.listNamespacedNetworkPolicy({ namespace }))),
    Promise.all(names.map((namespace) => t.kube.core.listNamespacedPod({ namespace }))),
  ]);
  return {
    namespaces: new Map(namespaces.map(({ metadata }) => [metadata?.name ?? '', metadata?.labels ?? {}])),
    policies: policies.flatMap((list): V1NetworkPolicy[] => list.items),
    pods: pods.flatMap((list) =>
      list.items.map(({ metadata, spec, status }): ModelPod => ({
        namespace: metadata?.namespace ?? '',
        name: metadata?.name ?? '',
        labels: metadata?.labels ?? {},
        node: spec?.nodeName ?? '',
        addresses: (status?.podIPs ?? []).map(({ ip }) => ip),
        namedPorts: Object.fromEntries(
          (spec?.containers ?? [])
            .flatMap((container) => container.ports ?? [])
            .map((port) => [`${(port.protocol ?? 'TCP').toLowerCase()}/${port.name}`, port.containerPort]),
        ),
      })),
    ),
  };
}

function verdictFor(model: Model, { source, destination, protocol, port }: Omit<Cell, 'timeoutMs'>): Verdict {
  const podOf = ({ namespace, name }: ProbePod): ModelPod => {
    const found = model.pods.find((pod) => pod.namespace === namespace && pod.name === name);
    if (found === undefined) throw new InconclusiveError(`pod ${namespace}/${name} of the truth table is gone`);
    return found;
  };
  const plain = protocol === 'http' ? 'tcp' : protocol;
  return judge(model, { source: podOf(source), destination: podOf(destination), protocol: plain, port });
}

/** "Blocked" counts only if the same prober and the same listener worked in the same window: each pod must reach itself. */
function assertControls(results: readonly CellResult[]): void {
  const broken = results.find(({ cell, result }) => cell.source === cell.destination && result.outcome !== 'allowed');
  if (broken === undefined) return;
  const { source, protocol, port } = broken.cell;
  throw new InconclusiveError(
    `${source.description} does not reach itself on ${protocol}/${port} (${broken.result.outcome}): its prober or listener is broken`,
  );
}

function wrongCells(results: readonly CellResult[], expected: ReadonlyMap<Cell, Verdict>): CellResult[] {
  return results.filter(({ cell, result }) => {
    const allowed = expected.get(cell)?.allowed === true;
    if (allowed !== (result.outcome === 'allowed')) return true;
    // An answer from somebody else is no answer.
    return allowed && result.server?.hostname !== cell.destination.name;
  });
}

function describe(wrong: CellResult | undefined, expected: ReadonlyMap<Cell, Verdict>): string {
  if (wrong === undefined) return '';
  const { source, destination, protocol, port } = wrong.cell;
  const verdict = expected.get(wrong.cell);
  const reason = verdict?.egress.allowed === false ? verdict.egress.why : verdict?.ingress.why;
  const arrived = wrong.requestArrived ? 'the request arrived' : 'the request did not arrive';
  return (
    `${source.description} to ${destination.description} ${protocol}/${port}: ` +
    `expected ${verdict?.allowed === true ? 'allowed' : 'blocked'} (${reason}), got ${wrong.result.outcome} (${arrived})`
  );
}

/** One grid per port: rows are sources. `.` allowed and `X` blocked as expected; `!` open but must be closed; `?` closed but must be open. */
function drawTable(table: Table, results: readonly CellResult[], expected: ReadonlyMap<Cell, Verdict>): string {
  const label = ({ labels, name }: ProbePod): string => `${labels['ns']}/${name}`;
  const grids = ports.map(({ protocol, port }) => {
    const rows = table.pods.map((source) => {
      const marks = table.pods.map((destination) => {
        const found = results.find(
          ({ cell }) =>
            cell.source === source &&
            cell.destination === destination &&
            cell.protocol === protocol &&
            cell.port === port,
        );
        const must = found !== undefined && expected.get(found.cell)?.allowed === true;
        const is = found?.result.outcome === 'allowed';
        return must === is ? (is ? '.' : 'X') : is ? '!' : '?';
      });
      return `${label(source)}  ${marks.map((mark) => mark.padEnd(4)).join('')}`;
    });
    return [`${protocol}/${port}`, `     ${table.pods.map((pod) => label(pod).padEnd(4)).join('')}`, ...rows].join(
      '\n',
    );
  });
  const legend = '. allowed, X blocked, both as they must be; ! open but must be closed; ? closed but must be open';
  return `${grids.join('\n\n')}\n\n${legend}\n`;
}
