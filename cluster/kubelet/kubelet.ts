// SPDX-License-Identifier: Apache-2.0
// Puts the kubelet together and runs it until it is told to stop. Stopping leaves the pods running.
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { Node, Pod, RuntimeClass, Service, Taint } from '../machinery/api-types.ts';
import { Client } from '../machinery/client.ts';
import { EventRecorder } from '../machinery/events.ts';
import { Informer } from '../machinery/informer.ts';
import { logger } from '../machinery/log.ts';
import { resources } from '../machinery/resources.ts';
import { openCgroups } from './cgroups/cgroup-files.ts';
import { qosCgroups } from './cgroups/pod-cgroups.ts';
import type { KubeletConfiguration } from './configuration.ts';
import { Runtime } from './cri/runtime.ts';
import { ImageManager } from './images/image-manager.ts';
import { NodeAgent } from './node/node-agent.ts';
import { Housekeeping } from './node/housekeeping.ts';
import { defaultAddress } from './node/machine.ts';
import { admit } from './pods/admission.ts';
import { BackOff } from './pods/back-off.ts';
import type { PodContext } from './pods/pod-context.ts';
import { identityOf, specOf } from './pods/pod-facts.ts';
import { PodManager } from './pods/pod-manager.ts';
import { parseResolvConf } from './pods/pod-network-files.ts';
import { PodRuntimeReader } from './pods/pod-runtime.ts';
import { PodWatch } from './pods/pod-watch.ts';
import { StatusManager } from './pods/status-manager.ts';
import { watchStaticPods } from './pods/static-pods.ts';
import { ProbeManager } from './probes/probe-manager.ts';
import { startServer } from './server/server.ts';
import { CsiDrivers } from './volumes/csi-drivers.ts';
import { CsiVolumes } from './volumes/csi-volumes.ts';
import { ObjectCache } from './volumes/object-cache.ts';
import { TokenManager } from './volumes/tokens.ts';
import { VolumeManager } from './volumes/volume-manager.ts';

export interface KubeletOptions {
  readonly kubeconfig: string;
  readonly config: KubeletConfiguration;
  readonly nodeName: string;
  readonly nodeIps: readonly string[];
  readonly rootDir: string;
  readonly runtimeEndpoint: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly taints: readonly Taint[];
  readonly version: string;
}

const log = logger('kubelet');

/** Resolves when stopped by `signal`. Errors: what keeps the kubelet from starting at all. */
export async function runKubelet(options: KubeletOptions, signal: AbortSignal): Promise<void> {
  const { config, nodeName, rootDir } = options;
  const ips =
    options.nodeIps.length > 0 ? options.nodeIps : [defaultAddress()].filter((address) => address !== undefined);
  if (ips.length === 0)
    throw new Error('--node-ip: this machine has no address on a default route; give the address to use');
  mkdirSync(rootDir, { recursive: true, mode: 0o750 });
  mkdirSync(config.podLogsDir, { recursive: true, mode: 0o755 });

  const client = Client.fromKubeconfig(options.kubeconfig, { userAgent: `kubelet/${options.version}` });
  const recorder = new EventRecorder(client, 'kubelet', nodeName);
  const runtime = new Runtime(options.runtimeEndpoint);
  const reader = new PodRuntimeReader(runtime);
  const images = new ImageManager(runtime);
  const manager = new PodManager(client, nodeName);
  const statuses = new StatusManager(client);
  const cgroups = openCgroups();
  const cgroupNaming = { root: config.cgroupRoot, perQos: config.cgroupsPerQOS, driver: config.cgroupDriver };
  for (const path of qosCgroups(cgroupNaming)) cgroups.ensure(path);

  const services = new Informer<Service>(client, resources.services);
  const nodes = new Informer<Node>(client, resources.nodes, { fieldSelector: `metadata.name=${nodeName}` });
  const pods = new Informer<Pod>(client, resources.pods, { fieldSelector: `spec.nodeName=${nodeName}` });

  const tokens = new TokenManager(client);
  const objects = new ObjectCache(client, (uids) => {
    for (const uid of uids) manager.worker(uid)?.volumesChanged();
  });
  const drivers = new CsiDrivers(client, { nodeName, rootDir });
  const csi = new CsiVolumes({ client, drivers, tokens, nodeName, rootDir, onUseChange: () => agent.refresh() });
  const volumes = new VolumeManager({ rootDir, client, objects, tokens, csi });
  const probes = new ProbeManager(runtime, {
    onVerdict: (uid) => manager.worker(uid)?.poke(),
    onFailure: (target, kind, output) => {
      const words = { livenessProbe: 'Liveness', readinessProbe: 'Readiness', startupProbe: 'Startup' };
      context.event(target.pod, {
        type: 'Warning',
        reason: 'Unhealthy',
        message: `${words[kind]} probe failed: ${output.trim()}`,
        container: `spec.containers{${target.container.name}}`,
      });
    },
  });
  const housekeeping = new Housekeeping({
    runtime,
    config,
    cgroups,
    manager,
    images,
    rootDir,
    memoryBytes: () => agent.memoryBytes,
    onPressure: () => agent.refresh(),
  });
  const agent: NodeAgent = new NodeAgent({
    client,
    runtime,
    config,
    name: nodeName,
    ips,
    labels: options.labels,
    taints: [...config.registerWithTaints, ...options.taints],
    version: options.version,
    rootDir,
    pressure: () => housekeeping.pressure,
    volumesInUse: () => csi.volumesInUse(),
    onNetworkReady: () => manager.pokeAll(),
  });

  const servicesSynced = services.start(signal);
  const context: PodContext = {
    config,
    rootDir,
    runtime,
    reader,
    images,
    volumes,
    objects,
    tokens,
    cgroups,
    cgroupNaming,
    probes,
    statuses,
    crashBackOff: new BackOff({ initialMs: 10_000, maxMs: 300_000 }),
    node: {
      name: nodeName,
      ips,
      get allocatable() {
        return agent.allocatable;
      },
      get memoryBytes() {
        return agent.memoryBytes;
      },
    },
    event(pod, event) {
      const shown = manager.shownAs(pod) ?? pod;
      const subject = {
        kind: 'Pod',
        apiVersion: 'v1',
        metadata: { ...shown.metadata, uid: identityOf(pod).uid },
        ...(event.container !== undefined && { fieldPath: event.container }),
      };
      recorder.event(subject, event.type, event.reason, event.message);
    },
    async services(namespace) {
      // Static pods may be what the API server itself runs as: they can't wait for it.
      if (!services.synced) await Promise.race([servicesSynced, pause(2_000, undefined, { ref: false })]);
      const kubernetes = services.get('kubernetes', 'default');
      const own = services.list(namespace);
      return kubernetes && namespace !== 'default' ? [kubernetes, ...own] : own;
    },
    hostDns: () =>
      parseResolvConf(
        config.resolvConf !== '' && existsSync(config.resolvConf) ? readFileSync(config.resolvConf, 'utf8') : '',
      ),
    async runtimeHandler(pod) {
      const name = specOf(pod).runtimeClassName;
      if (!name) return '';
      return (await client.get<RuntimeClass>(resources.runtimeClasses, name)).handler;
    },
    networkProblem: () => agent.networkProblem(),
    admit: (pod) =>
      admit({
        pod,
        others: [...manager.workers()]
          .filter((worker) => worker.admitted && worker.holdsResources && worker.identity.uid !== pod.metadata.uid)
          .map((worker) => worker.pod),
        node: agent.node,
        allocatable: agent.allocatable,
        allowedUnsafeSysctls: config.allowedUnsafeSysctls,
        pressure: housekeeping.pressure,
      }),
    shownAs: (pod) => manager.shownAs(pod),
    deleteFromApi: (pod) => manager.deleteFromApi(pod),
    statusChanged: () => undefined,
    finished: (uid) => {
      manager.finished(uid);
      agent.refresh();
    },
  };
  manager.attach(context);

  const server = await startServer({ config, client, context, manager, agent, housekeeping, nodeName, csi }, signal);
  log.info('kubelet is listening', { address: server.address, version: options.version });
  const watch = new PodWatch({
    runtime,
    reader,
    signal,
    onChange: (uid) => manager.worker(uid)?.poke(),
    onRecovered: () => manager.pokeAll(),
  });
  nodes.onChange(({ type, object }) => {
    if (type === 'deleted') return;
    agent.observe(object);
    manager.nodeKnown(object.metadata.uid ?? '');
  });
  drivers.run(signal);
  if (config.staticPodPath !== '') {
    watchStaticPods(config.staticPodPath, { nodeName, rescanMs: config.fileCheckMs, signal }, (found) =>
      manager.setStatic(found),
    );
  }
  manager.followApi(pods);
  const node = { kind: 'Node', apiVersion: 'v1', metadata: { name: nodeName, uid: nodeName } };
  recorder.event(node, 'Normal', 'Starting', 'Starting kubelet.');
  await Promise.all([
    agent.run(signal),
    watch.run(),
    housekeeping.run(signal),
    nodes.start(signal),
    pods.start(signal).then(() => (signal.aborted ? undefined : manager.apiSynced())),
  ]);
  // A stop that is under way may take its whole grace: the runtime carries it out without us.
  await Promise.race([manager.abandonAll(), pause(1_000)]);
  client.close();
  runtime.close();
}
