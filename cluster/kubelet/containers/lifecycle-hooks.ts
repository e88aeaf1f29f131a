// SPDX-License-Identifier: Apache-2.0
// Runs postStart and preStop handlers: exec, httpGet, tcpSocket, sleep. A handler that fails throws with its output.
import { setTimeout as pause } from 'node:timers/promises';
import type { Container, LifecycleHandler, Pod } from '../../machinery/api-types.ts';
import type { Runtime } from '../cri/runtime.ts';
import { probeHttp, probeTcp } from '../probes/network-probes.ts';
import { portNumber } from '../probes/probe-targets.ts';

export interface HookTarget {
  readonly pod: Pod;
  readonly container: Pick<Container, 'name' | 'ports'>;
  readonly containerId: string;
  readonly podIP: string;
}

export async function runHook(
  runtime: Runtime,
  handler: LifecycleHandler,
  options: HookTarget & { readonly timeoutSeconds: number },
): Promise<void> {
  if (handler.exec) {
    const result = await runtime.execSync(options.containerId, handler.exec.command ?? [], options.timeoutSeconds);
    if (result.exitCode !== 0) {
      const output = Buffer.concat([result.stdout, result.stderr]).toString('utf8').trim();
      throw new Error(`command '${(handler.exec.command ?? []).join(' ')}' exited with ${result.exitCode}: ${output}`);
    }
  } else if (handler.httpGet) {
    const { httpGet } = handler;
    const outcome = await probeHttp({
      host: httpGet.host || options.podIP,
      port: portNumber(httpGet.port ?? 0, options.container),
      path: httpGet.path ?? '/',
      scheme: httpGet.scheme ?? 'HTTP',
      headers: httpGet.httpHeaders ?? [],
      timeoutMs: Math.max(1, options.timeoutSeconds) * 1000,
      userAgent: 'kube-lifecycle/1.36',
    });
    // Upstream counts any answer as success: a hook notifies, it doesn't check.
    if (outcome.status === undefined) throw new Error(outcome.output);
  } else if (handler.tcpSocket) {
    const port = portNumber(handler.tcpSocket.port, options.container);
    await probeTcp(handler.tcpSocket.host || options.podIP, port, Math.max(1, options.timeoutSeconds) * 1000);
  } else if (handler.sleep) {
    await pause(Math.min(handler.sleep.seconds, options.timeoutSeconds > 0 ? options.timeoutSeconds : Infinity) * 1000);
  }
}
