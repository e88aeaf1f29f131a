// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';
import { FlagError, parseDuration, parseFlags } from './flags.ts';

const spec = {
  kubeconfig: { type: 'string', description: 'path of the kubeconfig', required: true },
  'leader-elect': { type: 'boolean', description: 'elect a leader', default: true },
  controllers: { type: 'list', description: 'which run', default: ['*'] },
  'node-labels': { type: 'map', description: 'labels' },
  'sync-period': { type: 'duration', description: 'period', default: '30s' },
  v: { type: 'number', description: 'verbosity', default: 0 },
} as const;

describe('machinery/flags', () => {
  it('reads both spellings, booleans without a value, lists, maps, durations and defaults', () => {
    const flags = parseFlags(
      [
        '--kubeconfig',
        '/a=b',
        '--leader-elect=false',
        '--controllers=*,-job',
        '--controllers=cronjob',
        '--node-labels=a=b,c=',
        '-v=4',
      ],
      spec,
    );
    expect(flags).to.deep.equal({
      kubeconfig: '/a=b',
      'leader-elect': false,
      controllers: ['*', '-job', 'cronjob'],
      'node-labels': { a: 'b', c: '' },
      'sync-period': 30_000,
      v: 4,
    });
    expect(parseFlags(['--kubeconfig=x', '--leader-elect'], spec)['leader-elect']).to.equal(true);
    expect(parseFlags(['--kubeconfig=x'], spec).controllers).to.deep.equal(['*']);
  });

  it('says what is wrong and what to do', () => {
    const fails = (argv: string[], message: string): void => {
      expect(() => parseFlags(argv, spec), argv.join(' ')).to.throw(FlagError, message);
    };
    fails([], '--kubeconfig is required: path of the kubeconfig');
    fails(['--kubeconfg=x'], 'unknown flag: --kubeconfg (did you mean --kubeconfig?)');
    fails(['--kubeconfig'], 'needs a value');
    fails(['x'], 'unexpected argument "x"');
    fails(['--v=high'], '"high" is not a number');
    fails(['--leader-elect=maybe'], 'not true or false');
    fails(['--node-labels=a'], 'not key=value');
    fails(['--sync-period=5'], 'not a duration');
    fails(['--help'], 'path of the kubeconfig');
  });

  it('reads Go durations', () => {
    expect(parseDuration('1h1m1.5s')).to.equal(3_661_500);
    expect(parseDuration('-250ms')).to.equal(-250);
    expect(parseDuration('0')).to.equal(0);
  });

  it('fails on any argument vector only with FlagError', () => {
    const word = fc.oneof(
      fc.string(),
      fc.constantFrom(
        '--kubeconfig',
        '--v',
        '--node-labels',
        '--controllers=',
        '--sync-period=1s',
        '--__proto__=x',
        '--constructor',
      ),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 6 }), (argv) => {
        try {
          parseFlags(argv, spec);
        } catch (error) {
          expect(error).to.be.instanceOf(FlagError);
        }
      }),
    );
  });
});
