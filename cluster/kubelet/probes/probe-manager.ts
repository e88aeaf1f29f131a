// SPDX-License-Identifier: Apache-2.0
// Runs liveness, readiness and startup probes of running containers and keeps their verdicts by container id. Tells a listener when a verdict
// changes. A verdict needs as many equal results in a row as its threshold says; liveness and readiness wait for startup.
import type { Container, Pod, Probe } from '../../machinery/api-types.ts';
import type { Runtime } from '../cri/runtime.ts';
import { grpcCode, grpcMessage, grpcStatus } from '../grpc/service-client.ts';
import { identityOf } from '../pods/pod-facts.ts';
import type { ProbeVerdict } from '../pods/pod-actions.ts';
import type { ContainerRecord } from '../pods/pod-runtime.ts';
import { probeGrpc, probeHttp, probeTcp } from './network-probes.ts';
import { portNumber } from './probe-targets.ts';

export type ProbeKind = 'livenessProbe' | 'readinessProbe' | 'startupProbe';

export interface ProbeTarget {
  readonly pod: Pod;
  readonly container: Container;
  readonly record: ContainerRecord;
  readonly podIP: string;
}

export interface ProbeListener {
  onVerdict(podUid: string): void;
  onFailure(target: ProbeTarget, kind: ProbeKind, output: string): void;
}

interface Prober {
  target: ProbeTarget;
  readonly kind: ProbeKind;
  readonly probe: Probe;
  verdict: ProbeVerdict;
  last: 'success' | 'failure' | undefined;
  run: number;
  timer: NodeJS.Timeout | undefined;
  stopped: boolean;
}

export class ProbeManager {
  readonly #runtime: Runtime;
  readonly #listener: ProbeListener;
  /** `containerId/kind` to its prober. */
  readonly #probers = new Map<string, Prober>();

  constructor(runtime: Runtime, listener: ProbeListener) {
    this.#runtime = runtime;
    this.#listener = listener;
  }

  liveness(containerId: string): ProbeVerdict {
    return this.#probers.get(`${containerId}/livenessProbe`)?.verdict ?? 'unknown';
  }

  readiness(containerId: string): ProbeVerdict {
    return this.#probers.get(`${containerId}/readinessProbe`)?.verdict ?? 'unknown';
  }

  startup(containerId: string): ProbeVerdict {
    return this.#probers.get(`${containerId}/startupProbe`)?.verdict ?? 'unknown';
  }

  /**
   * Makes exactly the probes of these running containers run. `wasReady` says what the API last showed, so that a kubelet's restart doesn't
   * make a ready pod unready.
   */
  update(
    podUid: string,
    targets: readonly ProbeTarget[],
    options: { wasReady: (name: string, id: string) => boolean; ending: boolean },
  ): void {
    const wanted = new Set<string>();
    for (const target of targets) {
      const { container, record } = target;
      for (const kind of ['startupProbe', 'livenessProbe', 'readinessProbe'] as const) {
        const probe = container[kind];
        if (probe === undefined || (options.ending && kind !== 'readinessProbe')) continue;
        const key = `${record.id}/${kind}`;
        wanted.add(key);
        const existing = this.#probers.get(key);
        if (existing) {
          existing.target = target;
          continue;
        }
        const ready = options.wasReady(container.name, record.id);
        const verdict =
          kind === 'livenessProbe' || ready ? 'success' : kind === 'readinessProbe' ? 'failure' : 'unknown';
        const prober: Prober = {
          target,
          kind,
          probe,
          verdict,
          last: undefined,
          run: 0,
          timer: undefined,
          stopped: false,
        };
        this.#probers.set(key, prober);
        const age = Date.now() - record.startedAt / 1e6;
        this.#schedule(prober, Math.max(0, (probe.initialDelaySeconds ?? 0) * 1000 - age));
      }
    }
    for (const [key, prober] of this.#probers) {
      if (prober.target.pod.metadata.uid === podUid && !wanted.has(key)) this.#stop(key, prober);
    }
  }

  stopPod(podUid: string): void {
    this.update(podUid, [], { wasReady: () => false, ending: true });
  }

  #stop(key: string, prober: Prober): void {
    prober.stopped = true;
    clearTimeout(prober.timer);
    this.#probers.delete(key);
  }

  #schedule(prober: Prober, delayMs: number): void {
    prober.timer = setTimeout(() => void this.#tick(prober), delayMs);
  }

  async #tick(prober: Prober): Promise<void> {
    const period = (prober.probe.periodSeconds ?? 10) * 1000;
    const { record } = prober.target;
    const startedAt = Date.now();
    const waitsForStartup = prober.kind !== 'startupProbe' && prober.target.container.startupProbe !== undefined;
    if (waitsForStartup && this.startup(record.id) !== 'success') {
      this.#schedule(prober, Math.min(period, 1000));
      return;
    }
    const outcome = await this.#measure(prober);
    if (prober.stopped) return;
    if (outcome !== undefined) this.#note(prober, outcome);
    if (prober.stopped) return;
    // A startup probe has done its work once it succeeded; a failed liveness or startup waits for the restart.
    if (prober.kind === 'startupProbe' && prober.verdict !== 'unknown') return;
    if (prober.kind === 'livenessProbe' && prober.verdict === 'failure') return;
    this.#schedule(prober, Math.max(0, period - (Date.now() - startedAt)));
  }

  #note(prober: Prober, outcome: { success: boolean; output: string }): void {
    const result = outcome.success ? 'success' : 'failure';
    prober.run = prober.last === result ? prober.run + 1 : 1;
    prober.last = result;
    if (!outcome.success) this.#listener.onFailure(prober.target, prober.kind, outcome.output);
    const threshold = outcome.success ? (prober.probe.successThreshold ?? 1) : (prober.probe.failureThreshold ?? 3);
    if (prober.run < threshold || prober.verdict === result) return;
    prober.verdict = result;
    this.#listener.onVerdict(identityOf(prober.target.pod).uid);
    if (prober.kind === 'startupProbe' && outcome.success) this.#wake(prober.target.record.id);
  }

  /** Startup succeeded: the probes that wait for it run now. */
  #wake(containerId: string): void {
    for (const kind of ['livenessProbe', 'readinessProbe']) {
      const waiting = this.#probers.get(`${containerId}/${kind}`);
      if (waiting === undefined || waiting.last !== undefined) continue;
      clearTimeout(waiting.timer);
      this.#schedule(waiting, 0);
    }
  }

  /** Undefined when the probe itself couldn't be carried out, which counts neither way. */
  async #measure(prober: Prober): Promise<{ success: boolean; output: string } | undefined> {
    const { probe, target } = prober;
    const timeoutMs = (probe.timeoutSeconds ?? 1) * 1000;
    try {
      if (probe.exec) {
        const result = await this.#runtime.execSync(
          target.record.id,
          probe.exec.command ?? [],
          probe.timeoutSeconds ?? 1,
        );
        const output = Buffer.concat([result.stdout, result.stderr]).toString('utf8');
        return { success: result.exitCode === 0, output };
      }
      if (probe.httpGet) {
        const { httpGet } = probe;
        const { status, output } = await probeHttp({
          host: httpGet.host || target.podIP,
          port: portNumber(httpGet.port ?? 0, target.container),
          path: httpGet.path ?? '/',
          scheme: httpGet.scheme ?? 'HTTP',
          headers: httpGet.httpHeaders ?? [],
          timeoutMs,
          userAgent: 'kube-probe/1.36',
        });
        if (status === undefined) return { success: false, output };
        const success = status >= 200 && status < 400;
        return { success, output: success ? output : `HTTP probe failed with statuscode: ${status}` };
      }
      if (probe.tcpSocket) {
        const port = portNumber(probe.tcpSocket.port, target.container);
        await probeTcp(probe.tcpSocket.host || target.podIP, port, timeoutMs);
        return { success: true, output: '' };
      }
      if (probe.grpc) {
        await probeGrpc({ host: target.podIP, port: probe.grpc.port, service: probe.grpc.service ?? '', timeoutMs });
        return { success: true, output: '' };
      }
      return { success: true, output: '' };
    } catch (error) {
      const code = grpcCode(error);
      if (probe.exec && code === grpcStatus.DEADLINE_EXCEEDED) {
        const command = (probe.exec.command ?? []).join(' ');
        return {
          success: false,
          output: `command timed out: "${command}" timed out after ${probe.timeoutSeconds ?? 1}s`,
        };
      }
      // The container is going away, or the runtime is: neither says anything about its health.
      if (probe.exec && (code === grpcStatus.NOT_FOUND || code === grpcStatus.UNAVAILABLE)) return undefined;
      return { success: false, output: grpcMessage(error) };
    }
  }
}
