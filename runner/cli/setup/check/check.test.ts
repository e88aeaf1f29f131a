// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';

import { runsTypeScript } from '../bootstrap.js';
import { judgeFile, relativeImports } from './imports.ts';
import { anchorOf, linksOf } from './links.ts';
import { missingEntries } from './lockfile.ts';

describe('setup/import rules', () => {
  const rules = [
    { folder: 'suites', may: ['probes'] },
    { folder: 'suites/oracles', may: [] },
    { folder: 'cluster', may: [] },
    { folder: 'probes', may: [] },
  ];
  const imported = (file: string, source: string): string[] =>
    judgeFile(file, source, rules).map((found) => found.imported);

  it('lets a folder use itself and what its rule names, and nothing else', () => {
    expect(
      imported(
        'suites/dns/a.ts',
        `import { x } from '../case.ts';
import '../../probes/p.ts';`,
      ),
    ).to.deep.equal([]);
    expect(imported('suites/dns/a.ts', `export * from '../../cluster/x.ts';`)).to.deep.equal(['cluster/x.ts']);
    expect(imported('suites/oracles/o.ts', `import type { C } from '../case.ts';`)).to.deep.equal(['suites/case.ts']);
    const dynamic = `import(${"'../cluster/x.ts'"})`;
    expect(imported('probes/p.ts', `await ${dynamic}`)).to.deep.equal(['cluster/x.ts']);
    expect(imported('suites/dns/a.test.ts', `import { o } from '../oracles/o.ts';`)).to.deep.equal([]);
    expect(imported('suites/dns/a.e2e.ts', `import { o } from '../../cluster/x.ts';`)).to.deep.equal(['cluster/x.ts']);
  });

  it('finds imports over several lines and leaves packages alone', () => {
    expect(relativeImports(`import {\n  a,\n  b,\n} from "./x.ts";\nimport c from 'yaml';`)).to.deep.equal(['./x.ts']);
  });
});

describe('setup/links', () => {
  it('finds links outside code', () => {
    const text =
      'See [a](b.md#c) and ![i](i.png "title").\n```\n[no](no.md)\n```\n`[no](x)` [web](https://example.com)';
    expect(linksOf(text)).to.deep.equal(['b.md#c', 'i.png', 'https://example.com']);
  });

  it('makes anchors as GitHub does', () => {
    expect(anchorOf('The `plumb` command: a page')).to.equal('the-plumb-command-a-page');
  });
});

describe('setup/lockfile', () => {
  it('names the builds for other platforms that a mirror lacked', () => {
    const missing = missingEntries({
      packages: {
        'node_modules/tool': {
          version: '1.0.0',
          dev: true,
          optionalDependencies: { '@tool/binding-linux-x64-gnu': '1.0.0', '@tool/binding-win32-x64-msvc': '1.0.0' },
        },
        'node_modules/@tool/binding-linux-x64-gnu': { version: '1.0.0' },
      },
    });
    expect(missing).to.deep.equal({
      'node_modules/@tool/binding-win32-x64-msvc': {
        version: '1.0.0',
        os: ['win32'],
        cpu: ['x64'],
        dev: true,
        optional: true,
      },
    });
  });
});

describe('setup/bootstrap', () => {
  it('knows which Node runs TypeScript', () => {
    expect(['18.20.4', '20.20.2', '22.17.1'].map(runsTypeScript)).to.deep.equal([false, false, false]);
    expect(['22.18.0', '23.0.0', '24.21.0'].map(runsTypeScript)).to.deep.equal([true, true, true]);
  });
});
