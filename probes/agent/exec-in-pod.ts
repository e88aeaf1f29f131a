// SPDX-License-Identifier: Apache-2.0
/** Runs a command in a container to its end, with bytes out: captures are not text. */
import { PassThrough, Readable } from 'node:stream';
import { Exec, type KubeConfig, type V1Status } from '@kubernetes/client-node';
import { ProbeError } from './agent-host.ts';

export interface ExecRequest {
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
  readonly stdin?: string | Uint8Array;
  readonly signal: AbortSignal;
  /** Default 30 000. */
  readonly timeoutMs?: number;
}

/** Errors: ProbeError when the exec itself fails; a non-zero exit code is a result. */
export async function execInPod(
  config: KubeConfig,
  command: readonly string[],
  request: ExecRequest,
): Promise<{ stdout: Buffer; stderr: string; exitCode: number }> {
  const { namespace, pod, container, stdin, timeoutMs = 30_000 } = request;
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  const signal = AbortSignal.any([request.signal, AbortSignal.timeout(timeoutMs)]);
  const where = `exec in pod ${namespace}/${pod} (${command.join(' ')})`;
  const status = await new Promise<V1Status>((resolve, reject) => {
    const input = stdin === undefined ? null : Readable.from([Buffer.from(stdin)]);
    new Exec(config)
      .exec(namespace, pod, container, [...command], into(out), into(err), input, false, resolve)
      .then((socket) => {
        const stop = (): void => {
          socket.terminate?.();
          reject(new ProbeError(`${where}: no end within ${timeoutMs} ms`));
        };
        if (signal.aborted) stop();
        signal.addEventListener('abort', stop, { once: true });
        socket.addEventListener('close', () => {
          signal.removeEventListener('abort', stop);
          // The status comes before the close; where it did not, there is none to come.
          reject(new ProbeError(`${where}: the connection ended without an exit status`));
        });
      })
      .catch((error: unknown) => {
        const message = typeof error === 'object' && error !== null && 'message' in error ? error.message : error;
        reject(new ProbeError(`${where}: ${String(message)}`, { cause: error }));
      });
  });
  return { stdout: Buffer.concat(out), stderr: Buffer.concat(err).toString(), exitCode: exitCodeOf(status, where) };
}

function into(chunks: Buffer[]): PassThrough {
  const stream = new PassThrough();
  stream.on('data', (chunk: Buffer) => chunks.push(Buffer.from(chunk)));
  return stream;
}

function exitCodeOf(status: V1Status, where: string): number {
  if (status.status === 'Success') return 0;
  const code = Number(status.details?.causes?.find(({ reason }) => reason === 'ExitCode')?.message);
  if (!Number.isInteger(code)) throw new ProbeError(`${where}: ${status.message ?? JSON.stringify(status)}`);
  return code;
}
