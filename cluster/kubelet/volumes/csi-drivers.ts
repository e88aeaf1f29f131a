// SPDX-License-Identifier: Apache-2.0
// CSI drivers on this node: found by their registration sockets, announced in CSINode and on the Node, forgotten when the socket goes.
import { existsSync, mkdirSync, readdirSync, statSync, watch } from 'node:fs';
import { join } from 'node:path';
import type { CSINode, CSINodeDriver, Node } from '../../machinery/api-types.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../../machinery/client.ts';
import type { Client } from '../../machinery/client.ts';
import { describeError, logger } from '../../machinery/log.ts';
import { resources } from '../../machinery/resources.ts';
import csiDescriptor from '../grpc/csi.descriptor.json' with { type: 'json' };
import type { NodeGetCapabilitiesResponse, NodeGetInfoResponse } from '../grpc/csi.types.ts';
import registrationDescriptor from '../grpc/plugin-registration.descriptor.json' with { type: 'json' };
import type { PluginInfo } from '../grpc/plugin-registration.types.ts';
import { connectService } from '../grpc/service-client.ts';
import type { ServiceClient } from '../grpc/service-client.ts';

export interface CsiDriver {
  readonly name: string;
  readonly node: ServiceClient;
  readonly nodeId: string;
  /** Names of NodeServiceCapability RPC types. */
  readonly capabilities: ReadonlySet<string>;
  readonly maxVolumes: number;
  readonly topology: Readonly<Record<string, string>>;
}

const log = logger('csi');
const rescanMs = 1_000;

export class CsiDrivers {
  readonly #client: Client;
  readonly #nodeName: string;
  readonly #registry: string;
  readonly #drivers = new Map<string, CsiDriver>();
  /** Socket path to what it looked like when its driver was registered. */
  readonly #sockets = new Map<string, { stamp: string; driver: string }>();
  readonly #failed = new Map<string, number>();
  #writing: Promise<void> = Promise.resolve();
  /** The API still shows a driver that is gone. */
  #stale = false;

  constructor(client: Client, options: { nodeName: string; rootDir: string }) {
    this.#client = client;
    this.#nodeName = options.nodeName;
    this.#registry = join(options.rootDir, 'plugins_registry');
  }

  /** Errors: no such driver is registered. */
  get(name: string): CsiDriver {
    const driver = this.#drivers.get(name);
    if (driver === undefined) throw new Error(`driver name ${name} not found in the list of registered CSI drivers`);
    return driver;
  }

  has(name: string): boolean {
    return this.#drivers.has(name);
  }

  run(signal: AbortSignal): void {
    mkdirSync(this.#registry, { recursive: true, mode: 0o750 });
    let scanning = false;
    let again = false;
    const scan = async (): Promise<void> => {
      again = true;
      if (scanning) return;
      scanning = true;
      while (again && !signal.aborted) {
        again = false;
        await this.#scan();
      }
      scanning = false;
    };
    const watcher = watch(this.#registry, () => void scan());
    // A watch misses sockets that aren't listening yet when they appear.
    const timer = setInterval(() => void scan(), rescanMs);
    signal.addEventListener('abort', () => {
      watcher.close();
      clearInterval(timer);
      for (const driver of this.#drivers.values()) driver.node.close();
    });
    void this.#ensureCsiNode().catch((error: unknown) => log.debug('cannot create CSINode yet', { error }));
    void scan();
  }

  async #scan(): Promise<void> {
    const present = new Map<string, string>();
    for (const name of readdirSync(this.#registry)) {
      const path = join(this.#registry, name);
      const facts = existsSync(path) ? statSync(path) : undefined;
      if (facts?.isSocket()) present.set(path, `${facts.ino}:${facts.ctimeMs}`);
    }
    for (const [path, known] of this.#sockets) {
      if (present.has(path)) continue;
      this.#sockets.delete(path);
      this.#unregister(known.driver);
    }
    if (this.#stale) {
      try {
        await this.#announce();
        this.#stale = false;
      } catch (error) {
        log.warn('cannot take a driver off CSINode, will try again', { error });
      }
    }
    for (const [path, stamp] of present) {
      if (this.#sockets.get(path)?.stamp === stamp || (this.#failed.get(path) ?? 0) > Date.now()) continue;
      try {
        const driver = await this.#register(path);
        if (driver !== undefined) this.#sockets.set(path, { stamp, driver });
        this.#failed.delete(path);
      } catch (error) {
        this.#failed.set(path, Date.now() + rescanMs);
        log.warn('cannot register plugin, will try again', { socket: path, error });
      }
    }
  }

  async #register(path: string): Promise<string | undefined> {
    const registration = connectService(registrationDescriptor, 'pluginregistration.Registration', `unix://${path}`);
    try {
      const info = await registration.call<PluginInfo>('GetInfo', {}, { timeoutMs: 5_000 });
      if (info.type !== 'CSIPlugin') {
        const error = `plugins of type ${info.type} are not supported by this kubelet`;
        await registration.call('NotifyRegistrationStatus', { pluginRegistered: false, error });
        return info.name;
      }
      try {
        await this.#connect(info.name, info.endpoint || path);
        await this.#announce();
      } catch (error) {
        this.#drivers.get(info.name)?.node.close();
        this.#drivers.delete(info.name);
        const text = `RegisterPlugin error -- plugin registration failed with err: ${describeError(error)}`;
        await registration.call('NotifyRegistrationStatus', { pluginRegistered: false, error: text });
        throw error;
      }
      await registration.call('NotifyRegistrationStatus', { pluginRegistered: true, error: '' });
      log.info('registered CSI driver', { driver: info.name });
      return info.name;
    } finally {
      registration.close();
    }
  }

  async #connect(name: string, endpoint: string): Promise<void> {
    const node = connectService(csiDescriptor, 'csi.v1.Node', `unix://${endpoint}`);
    const [info, capabilities] = await Promise.all([
      node.call<NodeGetInfoResponse>('NodeGetInfo', {}, { timeoutMs: 10_000 }),
      node.call<NodeGetCapabilitiesResponse>('NodeGetCapabilities', {}, { timeoutMs: 10_000 }),
    ]);
    this.#drivers.get(name)?.node.close();
    this.#drivers.set(name, {
      name,
      node,
      nodeId: info.nodeId,
      capabilities: new Set(capabilities.capabilities.flatMap((one) => (one.rpc ? [one.rpc.type] : []))),
      maxVolumes: info.maxVolumesPerNode,
      topology: info.accessibleTopology?.segments ?? {},
    });
  }

  #unregister(name: string): void {
    const driver = this.#drivers.get(name);
    if (driver === undefined || [...this.#sockets.values()].some((socket) => socket.driver === name)) return;
    driver.node.close();
    this.#drivers.delete(name);
    log.info('CSI driver is gone', { driver: name });
    this.#stale = true;
  }

  /** Writes the drivers to CSINode, and their node ids and topology to the Node; one write at a time. */
  #announce(): Promise<void> {
    const next = this.#writing.catch(() => undefined).then(() => this.#write());
    this.#writing = next;
    return next;
  }

  async #write(): Promise<void> {
    const labels: Record<string, string> = {};
    const ids: Record<string, string> = {};
    const drivers: CSINodeDriver[] = [];
    for (const driver of this.#drivers.values()) {
      Object.assign(labels, driver.topology);
      ids[driver.name] = driver.nodeId;
      drivers.push({
        name: driver.name,
        nodeID: driver.nodeId,
        topologyKeys: Object.keys(driver.topology).toSorted(),
        ...(driver.maxVolumes > 0 && { allocatable: { count: driver.maxVolumes } }),
      });
    }
    const annotations = { 'csi.volume.kubernetes.io/nodeid': drivers.length > 0 ? JSON.stringify(ids) : null };
    await this.#client.patch(resources.nodes, this.#nodeName, {
      type: 'strategic',
      body: { metadata: { labels, annotations } },
    });
    for (let attempt = 0; ; attempt++) {
      const current = await this.#ensureCsiNode();
      try {
        await this.#client.update(resources.csiNodes, { ...current, spec: { ...current.spec, drivers } });
        return;
      } catch (error) {
        if (!isConflict(error) || attempt >= 5) throw error;
      }
    }
  }

  async #ensureCsiNode(): Promise<CSINode> {
    try {
      return await this.#client.get<CSINode>(resources.csiNodes, this.#nodeName);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    const node = await this.#client.get<Node>(resources.nodes, this.#nodeName);
    const owner = { apiVersion: 'v1', kind: 'Node', name: this.#nodeName, uid: node.metadata.uid ?? '' };
    try {
      return await this.#client.create<CSINode>(resources.csiNodes, {
        metadata: { name: this.#nodeName, ownerReferences: [owner] },
        spec: { drivers: [] },
      });
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      return this.#client.get<CSINode>(resources.csiNodes, this.#nodeName);
    }
  }
}
