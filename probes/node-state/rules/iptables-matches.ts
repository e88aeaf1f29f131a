// SPDX-License-Identifier: Apache-2.0
/** Options of iptables rules as tests of virtual packets. Options that decide nothing (comments, modules' own settings) are no test. */
import type { Ipset } from '../node-state.ts';
import type { IptablesOption, IptablesRule } from '../parse/iptables-save.ts';
import { canonicalAddress, inRange, parseRange } from './addresses.ts';
import { protocolNumber } from './nft-values.ts';
import { Doubt, type Walk } from './walk.ts';

export interface RuleTest {
  /** Lower ones are tried first. */
  readonly order: number;
  readonly matches: (walk: Walk) => boolean;
}

const certain = 0;
const costly = 1;
const chance = 2;
const doubtful = 3;

/** Belong to a target, or to a match that another option decides. */
const noTests = new Set([
  '--comment',
  '--to-destination',
  '--to-source',
  '--to-ports',
  '--reject-with',
  '--set-xmark',
  '--set-mark',
  '--or-mark',
  '--and-mark',
  '--random',
  '--random-fully',
  '--persistent',
  '--mode',
  '--packet',
  '--name',
  '--mask',
  '--rsource',
  '--rdest',
  '--seconds',
  '--reap',
  '--set',
  '--log-prefix',
  '--log-level',
  '--nflog-prefix',
  '--nflog-group',
  '--nfmask',
  '--ctmask',
  '--save-mark',
  '--restore-mark',
  '--set-mss',
  '--clamp-mss-to-pmtu',
  '--notrack',
  '--zone',
  '--limit',
  '--limit-burst',
  '--return-nomatch',
  '--update-counters',
  '--add-set',
  '--del-set',
  '--exist',
  '--timeout',
  '--hitcount',
  '--nfacct-name',
  '--checksum-fill',
  '--set-dscp',
  '--nflog-size',
  '--log-uid',
]);

export function optionTest(
  option: IptablesOption,
  rule: IptablesRule,
  sets: ReadonlyMap<string, Ipset>,
): RuleTest | undefined {
  const { name, values, negated } = option;
  const [first = ''] = values;
  const test = (order: number, matches: (walk: Walk) => boolean): RuleTest => ({
    order,
    matches: negated ? (walk) => !matches(walk) : matches,
  });
  if (noTests.has(name)) return undefined;
  switch (name) {
    case '-s':
    case '--source':
    case '-d':
    case '--destination': {
      const range = parseRange(first);
      const isSource = name === '-s' || name === '--source';
      return test(certain, (walk) => range !== undefined && inRange(isSource ? walk.source : walk.destination, range));
    }
    case '--src-range':
    case '--dst-range': {
      const range = parseRange(first);
      return test(
        certain,
        (walk) => range !== undefined && inRange(name === '--src-range' ? walk.source : walk.destination, range),
      );
    }
    case '-i':
    case '--in-interface':
      return test(certain, (walk) => deviceMatches(walk.inDevice, first));
    case '-o':
    case '--out-interface':
      return test(certain, (walk) => deviceMatches(walk.outDevice, first));
    case '-p':
    case '--protocol':
      return test(certain, (walk) => first === 'all' || protocolNumber(first) === protocolNumber(walk.protocol));
    case '--dport':
    case '--dports':
    case '--destination-port':
      return test(certain, (walk) => portMatches(walk.port, first));
    case '--sport':
    case '--sports':
      return test(certain, (walk) => portMatches(walk.sourcePort, first));
    case '--ports':
      return test(certain, (walk) => portMatches(walk.port, first) || portMatches(walk.sourcePort, first));
    case '--mark': {
      const isConnection = /-m connmark --mark|-m connmark ! --mark/.test(rule.text) && !/-m mark/.test(rule.text);
      const [value = '0', mask = '0xffffffff'] = first.split('/');
      return test(
        certain,
        (walk) => (((isConnection ? walk.connectionMark : walk.mark) ^ Number(value)) & Number(mask)) === 0,
      );
    }
    case '--ctstate':
    case '--state':
      return test(certain, (walk) => stateMatches(walk, first));
    case '--ctstatus':
      return test(certain, (walk) =>
        first.split(',').some((one) => (one === 'DNAT' && walk.translated) || one === 'CONFIRMED'),
      );
    case '--ctdir':
      return test(certain, () => first === 'ORIGINAL');
    case '--ctorigdst':
      return test(certain, (walk) => {
        const range = parseRange(first);
        return range !== undefined && inRange(walk.original.destination, range);
      });
    case '--ctorigdstport':
      return test(certain, (walk) => portMatches(walk.original.port, first));
    case '--src-type':
    case '--dst-type': {
      const types = first.toLowerCase().split(',');
      return test(costly, (walk) =>
        types.includes(walk.routes.typeOf(name === '--src-type' ? walk.source : walk.destination)),
      );
    }
    case '--limit-iface-in':
    case '--limit-iface-out':
      return undefined;
    case '--match-set': {
      const set = sets.get(first);
      const sides = (values[1] ?? '').split(',');
      return test(set === undefined ? doubtful : costly, (walk) => {
        if (set === undefined) throw new Doubt(`the ipset ${first} could not be read`);
        return setHolds(set, sides, walk);
      });
    }
    case '--probability': {
      const probability = Number(first);
      return test(chance, (walk) => probability >= 1 || walk.choose([probability, 1 - probability]) === 0);
    }
    case '--every':
      return test(chance, (walk) => Number(first) <= 1 || walk.choose([1, Number(first) - 1]) === 0);
    // A client that is seen for the first time is remembered nowhere.
    case '--rcheck':
    case '--update':
      return test(certain, () => false);
    case '--tcp-flags':
      return test(certain, (walk) => walk.protocol === 'tcp' && (walk.state === 'new') === /SYN/.test(values[1] ?? ''));
    case '--syn':
      return test(certain, (walk) => walk.protocol === 'tcp' && walk.state === 'new');
    case '-f':
    case '--physdev-is-bridged':
      return test(certain, () => false);
    case '--uid-owner':
    case '--gid-owner':
      return test(doubtful, (walk) => {
        if (!walk.fromNode) return false;
        throw new Doubt('who sent it is not known');
      });
    default:
      if (!name.startsWith('-')) return undefined;
      return test(doubtful, () => {
        throw new Doubt(`${name} ${values.join(' ')} is not known`);
      });
  }
}

function deviceMatches(device: string | undefined, pattern: string): boolean {
  if (pattern.endsWith('+')) return (device ?? '').startsWith(pattern.slice(0, -1));
  return device === pattern;
}

function portMatches(port: number, text: string): boolean {
  return text.split(',').some((part) => {
    const [first = '', last = first] = part.split(':');
    return port >= Number(first || 0) && port <= Number(last || 65_535);
  });
}

function stateMatches(walk: Walk, text: string): boolean {
  return text
    .split(',')
    .some(
      (state) =>
        state.toLowerCase() === walk.state ||
        (state === 'DNAT' && walk.translated) ||
        (state === 'SNAT' && walk.newSource !== undefined),
    );
}

const keysOfSets = new WeakMap<Ipset, { exact: ReadonlySet<string>; others: readonly string[][] }>();

function setHolds(set: Ipset, sides: readonly string[], walk: Walk): boolean {
  let index = keysOfSets.get(set);
  if (index === undefined) {
    const entries = set.entries.map((entry) => (entry.split(' ')[0] ?? '').split(','));
    index = {
      exact: new Set(entries.map((parts) => parts.map(canonicalAddress).join(','))),
      others: entries.filter((parts) => parts.some((part) => /[/-]/.test(part) && parseRange(part) !== undefined)),
    };
    keysOfSets.set(set, index);
  }
  const kinds = set.type.split(':')[1]?.split(',') ?? [];
  const wanted = kinds.map((kind, at): string => {
    const isSource = sides[at] === 'src';
    if (kind === 'port') return `${walk.protocol}:${isSource ? walk.sourcePort : walk.port}`;
    return isSource ? walk.source : walk.destination;
  });
  if (index.exact.has(wanted.map(canonicalAddress).join(','))) return true;
  // bitmap:port and lists of ports are printed without a protocol.
  if (kinds.length === 1 && kinds[0] === 'port')
    return index.exact.has(String(sides[0] === 'src' ? walk.sourcePort : walk.port));
  return index.others.some((parts) =>
    parts.every((part, at) => {
      const range = parseRange(part);
      return range === undefined ? part === wanted[at] : inRange(wanted[at] ?? '', range);
    }),
  );
}
