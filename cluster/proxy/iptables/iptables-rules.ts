// SPDX-License-Identifier: Apache-2.0
// The iptables back end. The first write replaces what a former proxy left, chain by chain and without a gap; later
// ones are differences. Where a difference is refused (someone else changed the tables), everything is written anew.

import { ChainStore } from './chain-store.ts';
import { runIptables } from './iptables-command.ts';
import { baseChains, largeClusterEndpoints, planServiceChains } from './plan.ts';
import type { WrittenChains } from './chain-store.ts';
import type { PortWithBackends, RuleOptions, RuleWriter, WriteReport } from '../rule-writer.ts';
import type { IptablesTool, IptablesVariant } from './iptables-command.ts';
import type { IptablesOptions } from './plan.ts';

/** The lock of the legacy variant is shared with everybody who changes rules. */
const wait = ['-w', '5'];
/** See `restoreText`. */
const chainsPerTransaction = { nft: 250, legacy: Infinity } as const;
/** More emptied chains than this are tidied up although the proxy is busy. */
const maxUntidy = 1000;
const serviceChain = /^:(KUBE-(?:SVC|SVL|SEP|FW|EXT|XLB)-\S+) /gm;

export class IptablesRules implements RuleWriter {
  readonly #variant: IptablesVariant;
  readonly #store: ChainStore;
  readonly #localhostNodePorts: boolean;
  #options: IptablesOptions;
  /** Services' chains as the kernel has them; undefined when that is not known. */
  #written: WrittenChains | undefined;
  readonly #endpoints = new Map<string, number>();
  #endpointCount = 0;

  constructor(options: IptablesOptions, variant: IptablesVariant) {
    this.#options = options;
    this.#localhostNodePorts = options.localhostNodePorts;
    this.#variant = variant;
    this.#store = new ChainStore(chainsPerTransaction[variant]);
  }

  configure(options: RuleOptions): void {
    this.#options = { ...options, localhostNodePorts: this.#localhostNodePorts };
    // Chains that do not belong to a Service may be others now.
    this.distrust();
  }

  replace(service: string, ports: readonly PortWithBackends[]): void {
    const endpoints = ports.reduce((sum, { backends }) => sum + backends.length, 0);
    this.#endpointCount += endpoints - (this.#endpoints.get(service) ?? 0);
    if (endpoints === 0) this.#endpoints.delete(service);
    else this.#endpoints.set(service, endpoints);
    const brief = this.#endpointCount > largeClusterEndpoints;
    this.#store.replace(
      service,
      ports.map(({ port, backends }) => planServiceChains(port, backends, { options: this.#options, brief })),
    );
  }

  async write(): Promise<WriteReport> {
    const written = this.#written;
    if (written === undefined) {
      await this.#writeAll();
      return { kind: 'whole', untidy: false };
    }
    const difference = (tidy: boolean): string => this.#store.difference(this.#options, written, { tidy });
    // The legacy variant replaces the whole table whatever the change is: once is enough.
    const text = difference(this.#variant === 'legacy' || this.#store.untidy > maxUntidy) || difference(true);
    if (text === '') return { kind: 'none', untidy: false };
    try {
      await this.#run('restore', [...wait, '--noflush'], text);
      return { kind: 'difference', untidy: this.#store.untidy > 0 };
    } catch (error) {
      await this.#writeAll();
      return { kind: 'whole', refused: error instanceof Error ? error.message : String(error), untidy: false };
    }
  }

  distrust(): void {
    this.#written = undefined;
  }

  async stillThere(): Promise<boolean> {
    const found = await Promise.all(
      (['mangle', 'nat', 'filter'] as const).map((table) =>
        this.#run('rule', [...wait, '-t', table, '-S', 'KUBE-PROXY-CANARY']).then(
          () => true,
          () => false,
        ),
      ),
    );
    return !found.includes(false);
  }

  ruleCounts(): ReadonlyMap<string, number> {
    const counts = new Map(this.#store.counts());
    const { fixed, last } = baseChains(this.#options);
    for (const part of [...fixed, ...last]) {
      if ('rule' in part) counts.set(part.table, (counts.get(part.table) ?? 0) + 1);
    }
    return counts;
  }

  async #writeAll(): Promise<void> {
    this.#written = undefined;
    const saved = await this.#run('save', []);
    const stale = [...saved.matchAll(serviceChain)].map(([, name]) => name ?? '');
    const written: WrittenChains = new Map();
    const present = rulesOfKernelChains(saved);
    const missing = baseChains(this.#options).hooks.filter((hook) => !present.has(ruleId(hook)));
    const text = this.#store.whole(this.#options, { written, stale, missing });
    await this.#run('restore', [...wait, '--noflush'], text);
    this.#written = written;
  }

  #run(tool: IptablesTool, args: readonly string[], input?: string): Promise<string> {
    return runIptables({ variant: this.#variant, family: this.#options.family, tool }, args, input);
  }
}

/** What the kernel's own chains do, by table, chain and the words of the rule in any order, as tools order them differently. */
function rulesOfKernelChains(saved: string): Set<string> {
  const found = new Set<string>();
  let table = '';
  for (const line of saved.split('\n')) {
    if (line.startsWith('*')) table = line.slice(1);
    const [, chain, rule] = /^-A ([A-Z]+) (.*)$/.exec(line) ?? [];
    if (chain !== undefined && rule !== undefined) found.add(ruleId({ table, chain, rule }));
  }
  return found;
}

function ruleId({ table, chain, rule }: { table: string; chain: string; rule: string }): string {
  return [table, chain, ...words(rule).toSorted()].join(' ');
}

/** The words of a rule; quotes keep several together. */
export function words(rule: string): string[] {
  return [...rule.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
}
