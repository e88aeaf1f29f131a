// SPDX-License-Identifier: Apache-2.0
// kube-scheduler: flags, health and metrics, leader election, and the scheduler itself.
import { hostname } from 'node:os';
import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';

import { Client } from '../machinery/client.ts';
import { EventRecorder } from '../machinery/events.ts';
import { FlagError, parseFlags } from '../machinery/flags.ts';
import { startHealthServer } from '../machinery/health-server.ts';
import { runWithLeaderElection } from '../machinery/leader-election.ts';
import { logger, setVerbosity } from '../machinery/log.ts';
import { metrics } from '../machinery/metrics.ts';
import { schedulerMetrics } from './metrics.ts';
import { Scheduler } from './scheduler.ts';

const flagSpec = {
  kubeconfig: { type: 'string', required: true, description: 'kubeconfig file of the user system:kube-scheduler' },
  config: { type: 'string', description: 'KubeSchedulerConfiguration; its first profile names the scheduler' },
  'leader-elect': { type: 'boolean', default: true, description: 'run only while holding the lease kube-scheduler' },
  'health-bind-address': {
    type: 'string',
    default: '127.0.0.1:10259',
    description: 'address of /healthz and /metrics',
  },
  v: { type: 'number', default: 0, description: 'log verbosity' },
} as const;

const log = logger('scheduler');

async function main(): Promise<void> {
  const flags = parseFlags(process.argv.slice(2), flagSpec);
  setVerbosity(flags.v);
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
  const schedulerName = flags.config === undefined ? 'default-scheduler' : await schedulerNameFrom(flags.config);
  const client = Client.fromKubeconfig(flags.kubeconfig, { userAgent: 'kube-scheduler' });
  await startHealthServer({ address: flags['health-bind-address'] }, stop.signal);
  const run = async (signal: AbortSignal) => {
    const events = new EventRecorder(client, schedulerName);
    const scheduler = new Scheduler({ client, events, log, metrics: schedulerMetrics(metrics), schedulerName });
    await scheduler.start(signal);
    log.info('scheduling', { schedulerName });
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    await events.flush();
  };
  if (flags['leader-elect']) {
    const identity = `${hostname()}_${process.pid}`;
    await runWithLeaderElection({ client, name: 'kube-scheduler', identity, signal: stop.signal }, run);
  } else {
    await run(stop.signal);
  }
  client.close();
}

/** Reads the one setting that we support and refuses the rest aloud. */
async function schedulerNameFrom(path: string): Promise<string> {
  const config: unknown = parse(await readFile(path, 'utf8'));
  if (
    typeof config !== 'object' ||
    config === null ||
    !('kind' in config) ||
    config.kind !== 'KubeSchedulerConfiguration'
  ) {
    throw new FlagError(`--config ${path}: expected kind KubeSchedulerConfiguration`);
  }
  const profiles = 'profiles' in config && Array.isArray(config.profiles) ? config.profiles : [];
  if (profiles.length > 1)
    throw new FlagError(`--config ${path}: profiles: one profile is supported, got ${profiles.length}`);
  const profile: unknown = profiles[0] ?? {};
  if (typeof profile === 'object' && profile !== null) {
    const unknown = Object.keys(profile).find((key) => key !== 'schedulerName');
    if (unknown !== undefined)
      throw new FlagError(`--config ${path}: profiles[0].${unknown}: not supported; remove it`);
    if ('schedulerName' in profile && typeof profile.schedulerName === 'string') return profile.schedulerName;
  }
  return 'default-scheduler';
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    if (error instanceof FlagError) process.stderr.write(`${error.message}\n`);
    else log.error('kube-scheduler ends', error);
    process.exit(1);
  },
);
