// SPDX-License-Identifier: Apache-2.0
// Runs the tools of iptables in this network namespace, in the variant whose rules are in use here.

import { spawn } from 'node:child_process';

export type IptablesVariant = 'nft' | 'legacy';
export type IptablesTool = 'save' | 'restore' | 'rule';

/**
 * The variant to write rules with. Both at once confuse people and packets, so the choice is that of what is there:
 * first the kubelet's hint, then the greater number of rules, then what the plain name `iptables` stands for.
 */
export async function chooseIptables(): Promise<IptablesVariant> {
  const seen = await Promise.all(
    (['nft', 'legacy'] as const).map(async (variant) => {
      const text = await runIptables({ variant, family: 'ip', tool: 'save' }, []).catch(() => undefined);
      return { variant, text };
    }),
  );
  const present = seen.filter(({ text }) => text !== undefined);
  const [only] = present;
  if (only === undefined) throw new Error('neither iptables-nft nor iptables-legacy can be run; install iptables');
  if (present.length === 1) return only.variant;
  const hinted = present.find(({ text }) => /^:KUBE-(IPTABLES-HINT|KUBELET-CANARY) /m.test(text ?? ''));
  if (hinted !== undefined) return hinted.variant;
  const rules = (text = ''): number => text.split('\n').filter((line) => line.startsWith('-A ')).length;
  const [nft, legacy] = seen.map(({ text }) => rules(text));
  if ((nft ?? 0) !== (legacy ?? 0)) return (nft ?? 0) > (legacy ?? 0) ? 'nft' : 'legacy';
  const version = await run('iptables', ['--version'], '').catch(() => '');
  return version.includes('legacy') ? 'legacy' : 'nft';
}

export interface IptablesProgram {
  readonly variant: IptablesVariant;
  readonly family: 'ip' | 'ip6';
  readonly tool: IptablesTool;
}

/** Standard output; errors carry the arguments and what the tool said. */
export function runIptables(
  { variant, family, tool }: IptablesProgram,
  args: readonly string[],
  input = '',
): Promise<string> {
  const name = `${family === 'ip' ? 'iptables' : 'ip6tables'}-${variant}${tool === 'rule' ? '' : `-${tool}`}`;
  return run(name, args, input);
}

function run(name: string, args: readonly string[], input: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(name, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    const output: Buffer[] = [];
    let complaint = '';
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (complaint.length < 500) complaint += text.slice(0, 500);
    });
    child.on('error', (error) => reject(new Error(`${name} cannot be started: ${error.message}; install iptables`)));
    child.on('close', (code) => {
      if (code === 0) resolve(Buffer.concat(output).toString());
      else reject(new Error(`${name} ${args.join(' ')} (exit code ${code}): ${complaint.trim()}`));
    });
    // A child that died early closes the pipe; its exit code and message say more than EPIPE does.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
}
