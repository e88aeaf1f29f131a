// SPDX-License-Identifier: Apache-2.0
// The command behind `plumb cluster`: brings clusters of this machine up and down, and reaches into their nodes.
// Exit codes: 0 done, 1 it failed (the message ends with a remedy), 2 the command line is wrong.

import { enableCompileCache } from 'node:module';

// Holds for what is loaded after it.
enableCompileCache();
const { main } = await import('./commands.ts');
const { UsageError } = await import('./flags.ts');
const { StepError } = await import('./steps.ts');

// Whoever reads our output may have read enough, or have ended.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}
try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`plumb cluster: ${message}\n`);
  if (error instanceof StepError) {
    if (error.log !== '') process.stderr.write(`\n${error.log}\n\n`);
    process.stderr.write(`What to do: ${error.remedy}\n`);
  }
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
