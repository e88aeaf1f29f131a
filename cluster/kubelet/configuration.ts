// SPDX-License-Identifier: Apache-2.0
// The KubeletConfiguration file (kubelet.config.k8s.io/v1beta1): read, checked, with upstream's defaults. Fields that this kubelet has no use
// for are accepted, so that one file serves either kubelet; a wrong type is an error that names field and file.
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import type { Taint } from '../machinery/api-types.ts';
import { parseDuration } from '../machinery/flags.ts';
import { toBytes } from '../machinery/quantities.ts';

export interface KubeletConfiguration {
  readonly address: string;
  readonly port: number;
  readonly healthzPort: number;
  readonly healthzBindAddress: string;
  readonly tlsCertFile: string;
  readonly tlsPrivateKeyFile: string;
  readonly clientCAFile: string;
  readonly anonymousAuth: boolean;
  readonly webhookAuth: boolean;
  readonly authorizationMode: 'Webhook' | 'AlwaysAllow';
  readonly clusterDNS: readonly string[];
  readonly clusterDomain: string;
  readonly resolvConf: string;
  readonly cgroupRoot: string;
  readonly cgroupsPerQOS: boolean;
  readonly cgroupDriver: 'cgroupfs' | 'systemd';
  readonly staticPodPath: string;
  readonly fileCheckMs: number;
  readonly podLogsDir: string;
  readonly maxPods: number;
  readonly podPidsLimit: number;
  readonly registerNode: boolean;
  readonly registerWithTaints: readonly Taint[];
  readonly nodeStatusUpdateMs: number;
  readonly nodeStatusReportMs: number;
  readonly nodeLeaseDurationSeconds: number;
  readonly containerLogMaxBytes: number;
  readonly containerLogMaxFiles: number;
  readonly imageMinimumGcAgeMs: number;
  readonly imageGcHighThresholdPercent: number;
  readonly imageGcLowThresholdPercent: number;
  readonly evictionHard: Readonly<Record<string, string>>;
  readonly evictionPressureTransitionMs: number;
  readonly evictionMinimumReclaim: Readonly<Record<string, string>>;
  readonly systemReserved: Readonly<Record<string, string>>;
  readonly kubeReserved: Readonly<Record<string, string>>;
  readonly reservedSystemCPUs: string;
  readonly seccompDefault: boolean;
  readonly allowedUnsafeSysctls: readonly string[];
  readonly containerRuntimeEndpoint: string;
  readonly serverTLSBootstrap: boolean;
  /** As read, for /configz. */
  readonly raw: Readonly<Record<string, unknown>>;
}

export const defaultEvictionHard = {
  'memory.available': '100Mi',
  'nodefs.available': '10%',
  'nodefs.inodesFree': '5%',
  'imagefs.available': '15%',
} as const;

/** Errors: the file, the field, and what was expected. An empty path gives the defaults. */
export function readConfiguration(path: string): KubeletConfiguration {
  if (path === '') return configurationFrom({}, 'defaults');
  let document: unknown;
  try {
    document = parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new Error(`--config: cannot read ${path}; it must be a KubeletConfiguration in YAML or JSON`, {
      cause: error,
    });
  }
  if (typeof document !== 'object' || document === null)
    throw new Error(`--config: ${path} holds no KubeletConfiguration`);
  const { kind, apiVersion } = document as Record<string, unknown>;
  if (kind !== 'KubeletConfiguration' || apiVersion !== 'kubelet.config.k8s.io/v1beta1') {
    throw new Error(
      `--config: ${path} is ${String(apiVersion)} ${String(kind)}, expected kubelet.config.k8s.io/v1beta1 KubeletConfiguration`,
    );
  }
  return configurationFrom(document as Record<string, unknown>, path);
}

export function configurationFrom(raw: Record<string, unknown>, origin: string): KubeletConfiguration {
  const read = new Fields(raw, origin);
  const authentication = read.object('authentication');
  const reclaim = read.strings('evictionMinimumReclaim');
  return {
    address: read.text('address', '0.0.0.0'),
    port: read.number('port', 10_250),
    healthzPort: read.number('healthzPort', 10_248),
    healthzBindAddress: read.text('healthzBindAddress', '127.0.0.1'),
    tlsCertFile: read.text('tlsCertFile', ''),
    tlsPrivateKeyFile: read.text('tlsPrivateKeyFile', ''),
    clientCAFile: authentication.object('x509').text('clientCAFile', ''),
    anonymousAuth: authentication.object('anonymous').flag('enabled', false),
    webhookAuth: authentication.object('webhook').flag('enabled', true),
    authorizationMode:
      read.object('authorization').text('mode', 'Webhook') === 'AlwaysAllow' ? 'AlwaysAllow' : 'Webhook',
    clusterDNS: read.list('clusterDNS', []),
    clusterDomain: read.text('clusterDomain', 'cluster.local').replace(/\.$/, ''),
    resolvConf: read.text('resolvConf', '/etc/resolv.conf'),
    cgroupRoot: read.text('cgroupRoot', '/'),
    cgroupsPerQOS: read.flag('cgroupsPerQOS', true),
    cgroupDriver: read.text('cgroupDriver', 'cgroupfs') === 'systemd' ? 'systemd' : 'cgroupfs',
    staticPodPath: read.text('staticPodPath', ''),
    fileCheckMs: read.duration('fileCheckFrequency', 20_000),
    podLogsDir: read.text('podLogsDir', '/var/log/pods'),
    maxPods: read.number('maxPods', 110),
    podPidsLimit: read.number('podPidsLimit', -1),
    registerNode: read.flag('registerNode', true),
    registerWithTaints:
      (read.value('registerWithTaints', (value) => Array.isArray(value)) as Taint[] | undefined) ?? [],
    nodeStatusUpdateMs: read.duration('nodeStatusUpdateFrequency', 10_000),
    nodeStatusReportMs: read.duration('nodeStatusReportFrequency', 300_000),
    nodeLeaseDurationSeconds: read.number('nodeLeaseDurationSeconds', 40) || 40,
    containerLogMaxBytes: toBytes(read.text('containerLogMaxSize', '10Mi')),
    containerLogMaxFiles: read.number('containerLogMaxFiles', 5),
    imageMinimumGcAgeMs: read.duration('imageMinimumGCAge', 120_000),
    imageGcHighThresholdPercent: read.number('imageGCHighThresholdPercent', 85),
    imageGcLowThresholdPercent: read.number('imageGCLowThresholdPercent', 80),
    evictionHard: raw['evictionHard'] === undefined ? defaultEvictionHard : read.strings('evictionHard'),
    evictionPressureTransitionMs: read.duration('evictionPressureTransitionPeriod', 300_000),
    evictionMinimumReclaim: reclaim,
    systemReserved: read.strings('systemReserved'),
    kubeReserved: read.strings('kubeReserved'),
    reservedSystemCPUs: read.text('reservedSystemCPUs', ''),
    seccompDefault: read.flag('seccompDefault', false),
    allowedUnsafeSysctls: read.list('allowedUnsafeSysctls', []),
    containerRuntimeEndpoint: read.text('containerRuntimeEndpoint', ''),
    serverTLSBootstrap: read.flag('serverTLSBootstrap', false),
    raw,
  };
}

/** Typed access to one level of a document, with errors that name the field. */
class Fields {
  readonly #raw: Record<string, unknown>;
  readonly #origin: string;
  readonly #prefix: string;

  constructor(raw: Record<string, unknown>, origin: string, prefix = '') {
    this.#raw = raw;
    this.#origin = origin;
    this.#prefix = prefix;
  }

  /** The value when it is set and `fits`; undefined when it isn't set. */
  value(name: string, fits: (value: unknown) => boolean): unknown {
    const value = this.#raw[name];
    if (value === undefined || value === null) return undefined;
    if (!fits(value))
      throw new Error(`${this.#origin}: ${this.#prefix}${name} has the wrong type: ${JSON.stringify(value)}`);
    return value;
  }

  text(name: string, fallback: string): string {
    return (this.value(name, (value) => typeof value === 'string') as string | undefined) ?? fallback;
  }

  number(name: string, fallback: number): number {
    return (this.value(name, (value) => typeof value === 'number') as number | undefined) ?? fallback;
  }

  flag(name: string, fallback: boolean): boolean {
    return (this.value(name, (value) => typeof value === 'boolean') as boolean | undefined) ?? fallback;
  }

  list(name: string, fallback: string[]): string[] {
    return (
      (this.value(name, (value) => Array.isArray(value) && value.every((item) => typeof item === 'string')) as
        | string[]
        | undefined) ?? fallback
    );
  }

  /** Milliseconds; `0s` stands for the default. */
  duration(name: string, fallback: number): number {
    const text = this.value(name, (value) => typeof value === 'string') as string | undefined;
    return text === undefined ? fallback : parseDuration(text, name) || fallback;
  }

  strings(name: string): Record<string, string> {
    const isMap = (value: unknown): boolean => typeof value === 'object' && !Array.isArray(value);
    const map = (this.value(name, isMap) as Record<string, unknown> | undefined) ?? {};
    return Object.fromEntries(Object.entries(map).map(([key, value]) => [key, String(value)]));
  }

  object(name: string): Fields {
    const isMap = (value: unknown): boolean => typeof value === 'object' && !Array.isArray(value);
    const raw = (this.value(name, isMap) as Record<string, unknown> | undefined) ?? {};
    return new Fields(raw, this.#origin, `${this.#prefix}${name}.`);
  }
}
