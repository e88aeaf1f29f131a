// SPDX-License-Identifier: Apache-2.0
// Facts about the machine that a Node object shows: capacity, operating system, identities. Read from the kernel and well-known files.
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { arch, availableParallelism, networkInterfaces, release, totalmem } from 'node:os';
import type { NodeSystemInfo } from '../../machinery/api-types.ts';

export interface Capacity {
  readonly milliCpu: number;
  readonly memoryBytes: number;
  readonly ephemeralBytes: number;
  readonly hugePages: Readonly<Record<string, number>>;
}

export function capacity(rootDir: string): Capacity {
  const { blocks, bsize } = statfsSync(existsSync(rootDir) ? rootDir : '/');
  const memory = /^MemTotal:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1];
  return {
    milliCpu: availableParallelism() * 1000,
    memoryBytes: memory === undefined ? totalmem() : Number(memory) * 1024,
    ephemeralBytes: blocks * bsize,
    hugePages: { 'hugepages-1Gi': 0, 'hugepages-2Mi': 0 },
  };
}

const architectures: Record<string, string> = {
  x64: 'amd64',
  arm64: 'arm64',
  arm: 'arm',
  ia32: '386',
  ppc64: 'ppc64le',
  s390x: 's390x',
  riscv64: 'riscv64',
};

export const architecture = (): string => architectures[arch()] ?? arch();

export function systemInfo(versions: { runtime: string; kubelet: string }): NodeSystemInfo {
  const machineID = firstLine('/etc/machine-id') || firstLine('/var/lib/dbus/machine-id');
  const pretty = /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(readText('/etc/os-release'))?.[1];
  return {
    machineID,
    systemUUID: firstLine('/sys/class/dmi/id/product_uuid') || machineID,
    bootID: firstLine('/proc/sys/kernel/random/boot_id'),
    kernelVersion: release(),
    osImage: pretty ?? 'Linux',
    containerRuntimeVersion: versions.runtime,
    kubeletVersion: versions.kubelet,
    kubeProxyVersion: '',
    operatingSystem: 'linux',
    architecture: architecture(),
  };
}

/** The address of the interface that the default route leaves by; undefined when there is none. */
export function defaultAddress(): string | undefined {
  const routes = readText('/proc/net/route')
    .split('\n')
    .slice(1)
    .map((line) => line.split('\t'));
  const device = routes.find((fields) => fields[1] === '00000000')?.[0];
  const interfaces = networkInterfaces();
  const candidates = device === undefined ? Object.values(interfaces).flat() : (interfaces[device] ?? []);
  return candidates.find((address) => address?.family === 'IPv4' && !address.internal)?.address;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

const firstLine = (path: string): string => readText(path).split('\n')[0]?.trim() ?? '';
