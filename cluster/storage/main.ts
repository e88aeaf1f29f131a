// SPDX-License-Identifier: Apache-2.0
// The CSI host-path driver's pod on one node: the driver on its socket, its announcement to the kubelet, and the provisioner.
import { join } from 'node:path';
import { Client } from '../machinery/client.ts';
import { FlagError, parseFlags } from '../machinery/flags.ts';
import { startHealthServer } from '../machinery/health-server.ts';
import { logger, setVerbosity } from '../machinery/log.ts';
import csiDescriptor from '../kubelet/grpc/csi.descriptor.json' with { type: 'json' };
import registrationDescriptor from '../kubelet/grpc/plugin-registration.descriptor.json' with { type: 'json' };
import { connectService } from '../kubelet/grpc/service-client.ts';
import { driverName, driverServices } from './driver.ts';
import { serveOnSocket } from './grpc-server.ts';
import { runProvisioner } from './provisioner.ts';

const flagSpec = {
  'node-name': { type: 'string', required: true, description: 'name of the Node that this pod runs on' },
  'kubelet-dir': { type: 'string', default: '/var/lib/kubelet', description: 'the kubelet’s root directory' },
  'driver-version': { type: 'string', default: '0', description: 'version that the driver reports' },
  kubeconfig: { type: 'string', description: 'kubeconfig file; the pod’s service account when absent' },
  'healthz-bind-address': { type: 'string', default: ':9898', description: 'address of /healthz and /metrics' },
  v: { type: 'number', default: 0, description: 'log verbosity' },
} as const;

const log = logger('csi-hostpath');

async function main(): Promise<void> {
  const flags = parseFlags(process.argv.slice(2), flagSpec);
  setVerbosity(flags.v);
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
  const nodeName = flags['node-name'];
  const home = join(flags['kubelet-dir'], 'plugins', driverName);
  const socket = join(home, 'csi.sock');
  const options = { nodeName, version: flags['driver-version'], root: join(home, 'volumes') };
  const stopDriver = await serveOnSocket(csiDescriptor, socket, driverServices(options));
  const announcement = join(flags['kubelet-dir'], 'plugins_registry', `${driverName}-reg.sock`);
  const stopAnnouncing = await serveOnSocket(registrationDescriptor, announcement, [
    {
      name: 'pluginregistration.Registration',
      handlers: {
        GetInfo: () => ({ type: 'CSIPlugin', name: driverName, endpoint: socket, supportedVersions: ['1.0.0'] }),
        NotifyRegistrationStatus: ({ pluginRegistered, error }: { pluginRegistered: boolean; error: string }) => {
          if (pluginRegistered) log.info('the kubelet has registered the driver');
          else log.error('the kubelet refuses the driver', new Error(error));
          return {};
        },
      },
    },
  ]);
  await startHealthServer({ address: flags['healthz-bind-address'] }, stop.signal);
  const client =
    flags.kubeconfig === undefined
      ? Client.inCluster({ userAgent: driverName })
      : Client.fromKubeconfig(flags.kubeconfig, { userAgent: driverName });
  const controller = connectService(csiDescriptor, 'csi.v1.Controller', `unix://${socket}`);
  await runProvisioner({ client, controller, nodeName, signal: stop.signal });
  log.info('serving', { node: nodeName, socket });
  if (!stop.signal.aborted) {
    await new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve(), { once: true }));
  }
  controller.close();
  stopAnnouncing();
  stopDriver();
  client.close();
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    if (error instanceof FlagError) process.stderr.write(`${error.message}\n`);
    else log.error('the driver ends', error);
    process.exit(1);
  },
);
