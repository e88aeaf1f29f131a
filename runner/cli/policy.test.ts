// SPDX-License-Identifier: Apache-2.0
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import fc from 'fast-check';
import { Command } from 'commander';
import { Problem } from '../problem.ts';
import { documentsOf, readDocuments } from './policy-documents.ts';
import { explain, explanationLines } from './policy-explain.ts';
import { lintPolicies } from './policy-lint.ts';
import { policyInput } from './policy-model.ts';
import { addCommands } from './policy.ts';

const folder = fileURLToPath(new URL('../../fixtures/policies', import.meta.url));
const file = (name: string): string => `${folder}/${name}.yaml`;
const shop = policyInput(readDocuments([file('shop')]));
const tcp = (port: number) => ({ protocol: 'tcp', port }) as const;

/** Runs the verb in this process. */
async function plumb(...args: readonly string[]): Promise<{ code: number; output: string }> {
  const write = process.stdout.write.bind(process.stdout);
  const complain = process.stderr.write.bind(process.stderr);
  let output = '';
  let code = -1;
  const program = new Command().exitOverride();
  addCommands(program, { version: '0', finish: (value) => (code = value) });
  const capture = (text: string | Uint8Array): boolean => {
    output += String(text);
    return true;
  };
  process.stdout.write = capture;
  process.stderr.write = () => true;
  try {
    await program.parseAsync(['policy', ...args], { from: 'user' });
  } finally {
    process.stdout.write = write;
    process.stderr.write = complain;
  }
  return { code, output };
}

describe('plumb policy explain', () => {
  it('names the rule and the document that decide', () => {
    const explanation = explain(shop, { from: 'monitoring/scraper', to: 'shop/api-0', ...tcp(8080) });
    expect(explanation.verdict).to.equal('denied');
    const lines = explanationLines(explanation, shop).join('\n');
    expect(lines).to.include('[NetworkPolicy] Deny (no ingress rule of shop/api matches)');
    expect(lines).to.match(/shop\/api: .*shop\.yaml, document 8/);
    expect(
      explain(shop, { from: 'monitoring/scraper', to: 'shop/api-0', ...tcp(9090) }).flows[0]?.verdict.ingress.why,
    ).to.equal('shop/api ingress rule 1');
  });

  it('follows a Service by name, by DNS name and by address to its endpoints', () => {
    for (const to of ['svc/shop/api', 'shop/api', 'api.shop.svc.cluster.local', '10.96.0.40']) {
      const { verdict, flows } = explain(shop, { from: 'shop/front', to, ...tcp(80) });
      expect(verdict, to).to.equal('allowed');
      expect(flows.map(({ destination, port }) => `${destination} ${port}`)).to.deep.equal(['shop/api-0 8080']);
    }
    expect(explain(shop, { from: 'shop/front', to: 'svc/shop/api', ...tcp(81) }).verdict).to.equal('nobody');
  });

  it('takes addresses outside, and exits with 1 where a connection is denied', async () => {
    const ask = (from: string, to: string) =>
      plumb('explain', '-f', file('shop'), '--from', from, '--to', to, '--port', '5432/tcp');
    expect((await ask('shop/api-0', 'shop/db-0')).code).to.equal(0);
    expect((await ask('203.0.113.7', 'shop/db-0')).code).to.equal(1);
    expect((await ask('shop/db-0', '203.0.113.7')).output).to.include('is no pod, so no policy holds for it');
  });

  it('says which pods there are when the one asked for is not', () => {
    expect(() => explain(shop, { from: 'shop/nobody', to: 'shop/db-0', ...tcp(1) }))
      .to.throw(Problem, '--from shop/nobody: there is no such pod')
      .with.property('remedy')
      .that.includes('shop/api-0');
  });
});

describe('plumb policy matrix', () => {
  it('draws one grid per declared port, or writes CSV and JSON', async () => {
    const { output } = await plumb('matrix', '-f', file('shop'), '--port', '5432/tcp', '-n', 'shop');
    expect(output.split('\n').slice(0, 5)).to.deep.equal([
      '5432/tcp',
      '             1 2 3',
      '1 shop/api-0 . . .',
      '2 shop/db-0  X . .',
      '3 shop/front X X .',
    ]);
    const csv = await plumb('matrix', '-f', file('shop'), '-o', 'csv');
    // Four pods and the three ports that containers declare.
    expect(csv.output.trim().split('\n')).to.have.length(1 + 4 * 4 * 3);
    const json = await plumb(
      'matrix',
      '-f',
      file('shop'),
      '-o',
      'json',
      '--outside',
      '203.0.113.7',
      '--port',
      '53/udp',
    );
    expect(JSON.parse(json.output)).to.have.length(5 * 5 - 1);
  });
});

describe('plumb policy lint', () => {
  it('finds nothing in good policies', () => expect(lintPolicies(shop)).to.deep.equal([]));

  it('finds each mistake with its field', () => {
    const findings = lintPolicies(policyInput(readDocuments([file('shop'), file('mistakes')])));
    expect(findings.map(({ object, check, field }) => `${object} ${check} ${field}`)).to.deep.equal([
      'shop/front-egress missing-policy-types spec.policyTypes',
      'shop/front-egress port-name-nobody-serves spec.egress[0].ports[0].port',
      'shop/front-egress end-port-below-port spec.egress[0].ports[1].endPort',
      'shop/front-egress except-outside-cidr spec.egress[1].to[0].ipBlock.except[0]',
      'shop/front-egress block-of-service spec.egress[1].to[1].ipBlock.cidr',
      'shop/front-egress dns-forgotten spec.egress',
      'shop/typo rules-without-type spec.policyTypes',
      'shop/typo selector-matches-nothing spec.podSelector',
      'shop/typo shadowed-rule spec.ingress[0]',
      'shop/typo shadowed-rule spec.ingress[1]',
      'shop/typo no-such-namespace-label spec.ingress[0].from[0].namespaceSelector',
      'shop/typo selector-matches-nothing spec.ingress[1].from[0].podSelector',
      'shop/typo empty-list spec.ingress[2].from',
      'shop/db-again duplicate-policy spec',
      'twin-a equal-priority spec.priority',
      'twin-a named-port-without-pods spec.egress[0].protocols',
      'twin-b equal-priority spec.priority',
      'twin-b range spec.ingress[0].protocols[0].tcp.destinationPort.range',
    ]);
    const remedies = findings.map(({ remedy }) => remedy).join('\n');
    expect(remedies).to.include('app is api, db, front there');
    expect(remedies).to.include('Such pods are in monitoring: add a namespaceSelector');
    for (const { origin } of findings) expect(origin).to.include('mistakes.yaml, document ');
  });

  it('exits with 1 only when it is strict', async () => {
    const args = ['lint', '-f', file('shop'), '-f', file('mistakes')];
    expect((await plumb(...args)).code).to.equal(0);
    expect((await plumb(...args, '--strict')).code).to.equal(1);
    expect((await plumb('lint', '-f', file('shop'), '--strict')).code).to.equal(0);
  });
});

describe('plumb policy what-if', () => {
  it('says which verdicts flip, and why', async () => {
    const { output, code } = await plumb('what-if', '-f', file('guard'), '--base', file('shop'));
    expect(code).to.equal(0);
    const lines = output.trim().split('\n');
    expect(lines.at(-1)).to.equal('3 verdicts become denied, 0 become allowed');
    expect(lines).to.include(
      '- monitoring/scraper -> shop/front 8080/tcp: denied by ingress, guard-shop ingress rule 1 "rest"',
    );
    expect(output).not.to.include('shop/api-0 9090');
  });

  it('shows what a deletion opens', async () => {
    const base = ['--base', file('shop'), '--port', '5432/tcp'];
    const { output } = await plumb('what-if', '-f', file('guard'), ...base, '--delete', 'shop/db', '-n', 'shop');
    expect(output.trim().split('\n').at(-1)).to.equal('0 verdicts become denied, 1 become allowed');
  });
});

describe('policy documents', () => {
  const policy = (spec: string): string =>
    `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: p }\nspec: ${spec}\n`;
  const decode = (text: string) => policyInput(documentsOf('p.yaml', text));

  const wrong: readonly [string, string][] = [
    ['a: [', 'p.yaml, document 1: line 1: Flow sequence'],
    ['- 1', 'p.yaml, document 1 is not a Kubernetes object'],
    ['kind: Pod', 'apiVersion is missing'],
    ['---\n---\napiVersion: v1\nkind: Pod', 'p.yaml, document 2: Pod: metadata.name is missing'],
    [policy('{ podSelecter: {} }'), 'p.yaml, document 1 (NetworkPolicy default/p): spec.podSelecter is not a field'],
    [policy('{ ingress: [{ from: [{}] }] }'), 'spec.ingress[0].from[0] names nobody'],
    [policy('{ ingress: [{ ports: [{ port: 0 }] }] }'), 'spec.ingress[0].ports[0].port 0 is not a whole number'],
    [policy('{ egress: [{ to: [{ ipBlock: { cidr: 10.0.0.0/33 } }] }] }'), 'ipBlock.cidr "10.0.0.0/33" is not a CIDR'],
    [policy('{ policyTypes: [ingress] }'), 'spec.policyTypes[0] "ingress" is none of Ingress, Egress'],
    [policy('{ podSelector: { matchLabels: { a: 1 } } }'), 'spec.podSelector.matchLabels.a 1 is not a string'],
  ];
  for (const [text, message] of wrong) {
    it(`refuses: ${message}`, () => expect(() => decode(text)).to.throw(Problem, message));
  }

  it('opens lists and leaves out pods that have ended', () => {
    const pod = (name: string, phase: string): object => ({
      metadata: { name, namespace: 'x' },
      status: { phase, podIP: '10.0.0.1' },
    });
    const list = { apiVersion: 'v1', kind: 'PodList', items: [pod('a', 'Running'), pod('b', 'Succeeded')] };
    const input = policyInput(documentsOf('list.json', JSON.stringify(list)));
    expect(input.model.pods.map(({ name }) => name)).to.deep.equal(['a']);
    expect(input.notes).to.deep.equal([]);
  });

  it('answers any object with a model or a Problem, never otherwise', () => {
    const spec = fc.object({
      key: fc.constantFrom(
        'podSelector',
        'ingress',
        'egress',
        'from',
        'to',
        'ports',
        'ipBlock',
        'cidr',
        'tier',
        'subject',
        'status',
      ),
      values: [fc.string(), fc.integer(), fc.boolean(), fc.constant(null), fc.array(fc.string())],
      maxDepth: 4,
      maxKeys: 3,
    });
    const kinds = fc.constantFrom(
      'networking.k8s.io/v1 NetworkPolicy',
      'policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy',
      'v1 Pod',
      'v1 Service',
      'v1 Node',
      'apps/v1 Deployment',
    );
    fc.assert(
      fc.property(kinds, spec, (kind, content) => {
        const [apiVersion, name] = kind.split(' ');
        const object = { apiVersion, kind: name, metadata: { name: 'p' }, spec: content, status: content };
        try {
          lintPolicies(policyInput(documentsOf('p.json', JSON.stringify(object))));
        } catch (error) {
          if (!(error instanceof Problem)) throw error;
        }
      }),
      { numRuns: 150 },
    );
  });
});
