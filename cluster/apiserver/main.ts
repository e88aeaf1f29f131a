// SPDX-License-Identifier: Apache-2.0
// kube-apiserver: serves until SIGTERM. Exits with 1 and the reason when it cannot.
import { FlagError } from '../machinery/flags.ts';
import { logger } from '../machinery/log.ts';
import { readOptions } from './server/options.ts';
import { runApiServer } from './server/run.ts';

// grpc-js names the server by its address when etcd is given by one; node warns, and ignores it as it should.
process.noDeprecation = true;
const log = logger('apiserver');
/** Ends of connections that nobody was waiting on; no reason to take everybody else down. */
const networkErrors = new Set([
  'ECONNRESET',
  'EPIPE',
  'ERR_STREAM_DESTROYED',
  'ERR_HTTP2_INVALID_STREAM',
  'ERR_HTTP2_STREAM_ERROR',
]);
process.on('unhandledRejection', (error) => log.error('unhandled rejection', error));
process.on('uncaughtException', (error: NodeJS.ErrnoException) => {
  log.error('uncaught exception', error);
  if (!networkErrors.has(error.code ?? '')) {
    process.exit(1);
  }
});
try {
  const stop = new AbortController();
  const options = readOptions(process.argv.slice(2));
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => stop.abort());
  }
  await runApiServer(options, log, stop.signal);
  process.exit(0);
} catch (error) {
  if (error instanceof FlagError) {
    process.stderr.write(`${error.message}\n`);
  } else if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') {
    log.error('the port is taken: stop who has it, or choose another with --secure-port', error);
  } else {
    log.error('cannot go on', error);
  }
  process.exit(1);
}
