// SPDX-License-Identifier: Apache-2.0
// A CSI node driver for tests, run inside a node: each volume is a folder that is bind-mounted; staging and publishing are written to a journal.
// Arguments: the driver's name and the kubelet's root folder. Ends with its standard input.
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs/light.js';
import csi from '../grpc/csi.descriptor.json' with { type: 'json' };
import registration from '../grpc/plugin-registration.descriptor.json' with { type: 'json' };

type Handler = (request: Record<string, unknown>) => object;

const [name = 'test.csi', root = '/var/lib/kubelet'] = process.argv.slice(2);
const folder = join(root, 'plugins', name);
const endpoint = join(folder, 'csi.sock');
const registry = join(root, 'plugins_registry', `${name}-reg.sock`);
mkdirSync(join(folder, 'volumes'), { recursive: true });
for (const socket of [endpoint, registry]) rmSync(socket, { force: true });

const journal = (method: string, request: Record<string, unknown>): void =>
  appendFileSync(join(folder, 'journal'), `${method} ${String(request['volumeId'] ?? '')}\n`);
const bind = (source: string, target: string): void => {
  mkdirSync(target, { recursive: true });
  execFileSync('mount', ['--bind', source, target]);
};

const node: Record<string, Handler> = {
  NodeGetInfo: () => ({
    nodeId: 'node-1',
    maxVolumesPerNode: 7,
    accessibleTopology: { segments: { 'test.csi/zone': 'a' } },
  }),
  NodeGetCapabilities: () => ({
    capabilities: ['STAGE_UNSTAGE_VOLUME', 'EXPAND_VOLUME'].map((type) => ({ rpc: { type } })),
  }),
  NodeStageVolume: (request) => {
    const volume = join(folder, 'volumes', String(request['volumeId']));
    mkdirSync(volume, { recursive: true });
    bind(volume, String(request['stagingTargetPath']));
    return {};
  },
  NodeUnstageVolume: (request) => {
    execFileSync('umount', [String(request['stagingTargetPath'])]);
    return {};
  },
  NodePublishVolume: (request) => {
    const volume = join(folder, 'volumes', String(request['volumeId']));
    mkdirSync(volume, { recursive: true });
    bind(String(request['stagingTargetPath'] || volume), String(request['targetPath']));
    return {};
  },
  NodeUnpublishVolume: (request) => {
    execFileSync('umount', [String(request['targetPath'])]);
    rmSync(String(request['targetPath']), { recursive: true, force: true });
    return {};
  },
  NodeExpandVolume: () => ({}),
};
const registrar: Record<string, Handler> = {
  GetInfo: () => ({ type: 'CSIPlugin', name, endpoint, supportedVersions: ['1.0.0'] }),
  NotifyRegistrationStatus: (request) => {
    appendFileSync(
      join(folder, 'journal'),
      `registered ${String(request['pluginRegistered'])} ${String(request['error'])}\n`,
    );
    return {};
  },
};

function serve(
  descriptor: object,
  service: string,
  options: { handlers: Record<string, Handler>; socket: string },
): void {
  const definition = protobuf.Root.fromJSON(descriptor as protobuf.INamespace).lookupService(service);
  const methods: Record<string, grpc.MethodDefinition<object, object>> = {};
  const implementation: Record<string, grpc.handleUnaryCall<object, object>> = {};
  for (const [method, handler] of Object.entries(options.handlers)) {
    const rpc = definition.methods[method]?.resolve() as protobuf.Method;
    const { resolvedRequestType: input, resolvedResponseType: output } = rpc;
    if (input === null || output === null) throw new Error(`${service}/${method} is not resolved`);
    methods[method] = {
      path: `/${service}/${method}`,
      requestStream: false,
      responseStream: false,
      requestSerialize: (value) => Buffer.from(input.encode(input.fromObject(value)).finish()),
      requestDeserialize: (bytes) => input.toObject(input.decode(bytes), { defaults: true, longs: Number }),
      responseSerialize: (value) => Buffer.from(output.encode(output.fromObject(value)).finish()),
      responseDeserialize: (bytes) => output.toObject(output.decode(bytes)),
    };
    implementation[method] = (call, callback) => {
      const request = call.request as Record<string, unknown>;
      if (method !== 'GetInfo' && method !== 'NotifyRegistrationStatus') journal(method, request);
      try {
        callback(null, handler(request));
      } catch (error) {
        callback({ code: grpc.status.INTERNAL, details: String(error) });
      }
    };
  }
  const server = new grpc.Server();
  server.addService(methods, implementation);
  server.bindAsync(`unix:${options.socket}`, grpc.ServerCredentials.createInsecure(), (error) => {
    if (error !== null) throw error;
  });
}

serve(csi, 'csi.v1.Node', { handlers: node, socket: endpoint });
serve(registration, 'pluginregistration.Registration', { handlers: registrar, socket: registry });
process.stdin.resume();
process.stdin.on('end', () => {
  for (const socket of [endpoint, registry]) rmSync(socket, { force: true });
  process.exit(0);
});
