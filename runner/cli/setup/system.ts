// SPDX-License-Identifier: Apache-2.0
// System packages: what the doctor misses and Debian has is installed by name, with the services in those packages kept
// from starting, because a cluster runs its own copies in its nodes.

import { existsSync, rmSync, writeFileSync } from 'node:fs';

import { SetUpError } from './bootstrap.js';
import { runChild, runProgram } from './child.ts';

interface Finding {
  readonly id: string;
  readonly title: string;
  readonly level: 'required' | 'advised';
  readonly ok: boolean;
  readonly detail: string;
  readonly remedy?: string;
  readonly packages?: readonly string[];
}

const policyFile = '/usr/sbin/policy-rc.d';

/** Installs what is missing. Errors: a need that no package meets, or apt's failure, with a remedy. */
export async function ensureSystem(): Promise<void> {
  let findings = await examine();
  const missing = findings.filter((finding) => !finding.ok && finding.packages !== undefined);
  if (missing.length > 0) {
    const root = findings.find((finding) => finding.id === 'root');
    if (root?.ok === false) throw unmet(root);
    await install(missing);
    findings = await examine();
  }
  const failed = findings.find((finding) => !finding.ok && finding.level === 'required');
  if (failed !== undefined) throw unmet(failed);
}

function unmet(finding: Finding): SetUpError {
  return new SetUpError(
    `a need is not met: ${finding.title}: ${finding.detail}`,
    finding.remedy ?? 'see "npx plumb doctor"',
  );
}

async function examine(): Promise<Finding[]> {
  const { output } = await runProgram('cluster/boot/main.ts', ['doctor', '--json'], { capture: true });
  const findings: unknown = JSON.parse(output);
  if (!Array.isArray(findings)) throw new TypeError('"cluster/boot/main.ts doctor --json" did not print a list');
  return findings as Finding[];
}

async function install(missing: readonly Finding[]): Promise<void> {
  const required = missing.filter((finding) => finding.level === 'required');
  if (!existsSync('/usr/bin/apt-get')) {
    if (required.length === 0) return;
    throw new SetUpError(
      `this machine has no apt-get, and these are missing: ${required.map((finding) => finding.title).join('; ')}`,
      'install them with the package manager of this system, then run the command again',
    );
  }
  const wanted = new Set(missing.flatMap((finding) => finding.packages ?? []));
  if (!(await hasCandidate('iproute2'))) await apt(['update']);
  let packages = await choose(wanted);
  if (packages.length === 0) {
    await apt(['update']);
    packages = await choose(wanted);
  }
  if (packages.length === 0) return;
  process.stderr.write(`set-up: installing system packages: ${packages.join(' ')}\n`);
  const ownPolicy = !existsSync(policyFile);
  if (ownPolicy)
    writeFileSync(
      policyFile,
      '#!/bin/sh\n# Written by plumb while it installs packages: starts no service.\nexit 101\n',
      { mode: 0o755 },
    );
  try {
    const args = ['install', '-y', '--no-install-recommends', ...packages];
    // Lists that are a few weeks old name files that the mirror no longer has.
    if (!(await tryApt(args))) {
      await apt(['update']);
      await apt(args);
    }
    await disableServices(packages);
  } finally {
    if (ownPolicy) rmSync(policyFile, { force: true });
  }
}

/** Of each set of alternatives ("a|b") the first that apt knows. */
async function choose(wanted: ReadonlySet<string>): Promise<string[]> {
  const chosen = new Set<string>();
  for (const alternatives of wanted) {
    for (const name of alternatives.split('|')) {
      if (!(await hasCandidate(name))) continue;
      chosen.add(name);
      break;
    }
  }
  return [...chosen];
}

async function hasCandidate(name: string): Promise<boolean> {
  const { output } = await runChild(['apt-cache', 'policy', name], { capture: true });
  return /^\s*Candidate:\s+(?!\(none\))\S/m.test(output);
}

async function apt(args: readonly string[]): Promise<void> {
  if (await tryApt(args)) return;
  throw new SetUpError(
    `"apt-get ${args.join(' ')}" failed`,
    'apt-get has said why above; without a network, install the packages from a local mirror and run the command again',
  );
}

/** What apt says is shown only when it fails. */
async function tryApt(args: readonly string[]): Promise<boolean> {
  const script = 'exec "$0" "$@" 2>&1';
  const { code, output } = await runChild(
    ['sh', '-c', script, 'apt-get', '-q', '-o', 'DPkg::Lock::Timeout=120', ...args],
    {
      env: { DEBIAN_FRONTEND: 'noninteractive' },
      capture: true,
      timeoutMs: 600_000,
    },
  );
  if (code !== 0) process.stderr.write(`${output}\n`);
  return code === 0;
}

/** Services of the packages just installed: not started now by policy, and not at the next boot either. */
async function disableServices(packages: readonly string[]): Promise<void> {
  const services = packages.flatMap((name) => servicesOf[name] ?? []);
  if (services.length === 0 || !existsSync('/usr/bin/systemctl')) return;
  await runChild(['systemctl', 'disable', '--quiet', ...services], { capture: true });
}

const servicesOf: Readonly<Record<string, readonly string[]>> = { 'etcd-server': ['etcd'], containerd: ['containerd'] };
