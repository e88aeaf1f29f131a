// SPDX-License-Identifier: Apache-2.0
/** `plumb policy explain`: the verdict over one connection, with the rule that decides at either end. Pure but for nothing: input in, lines out. */
import { isIP } from 'node:net';
import {
  isPod,
  partyName,
  type DirectionVerdict,
  type Family,
  type Party,
  type Verdict,
} from '../../suites/oracles/reachability/model.ts';
import { judge } from '../../suites/oracles/reachability/oracle.ts';
import { resolveTarget, type Arrival, type Target } from '../../suites/oracles/reachability/services.ts';
import { Problem } from '../problem.ts';
import type { PolicyInput, ServedPort } from './policy-model.ts';

export interface Explanation {
  readonly question: string;
  /** Every connection passes, none does, or it depends on which endpoint is chosen. `nobody`: no endpoint serves the port. */
  readonly verdict: 'allowed' | 'denied' | 'depends' | 'nobody';
  readonly flows: readonly {
    readonly destination: string;
    readonly port: number;
    readonly via: string;
    readonly verdict: Verdict;
  }[];
}

export interface Tuple extends ServedPort {
  readonly from: string;
  readonly to: string;
  readonly family?: Family | undefined;
}

export function explain(input: PolicyInput, tuple: Tuple): Explanation {
  const { model } = input;
  const { protocol, port, family } = tuple;
  const source = partyOf(input, '--from', tuple.from);
  const arrivals = resolveTarget(model, targetOf(input, tuple.to), { source, protocol, port });
  const flows = arrivals.map((arrival: Arrival) => {
    const { destination, throughService } = arrival;
    const wanted = family ?? arrival.family;
    const verdict = judge(model, {
      source,
      destination,
      protocol,
      port: arrival.port,
      throughService,
      ...(wanted !== undefined && { family: wanted }),
    });
    return { destination: partyName(destination), port: arrival.port, via: arrival.via, verdict };
  });
  const passing = flows.filter(({ verdict }) => verdict.allowed).length;
  return {
    question: `${partyName(source)} -> ${tuple.to} ${port}/${protocol}`,
    verdict:
      flows.length === 0 ? 'nobody' : passing === flows.length ? 'allowed' : passing === 0 ? 'denied' : 'depends',
    flows,
  };
}

const verdictWords = {
  allowed: 'allowed',
  denied: 'DENIED',
  depends: 'DEPENDS on the endpoint that is chosen',
  nobody: 'NOBODY serves it: no endpoint for this port',
} as const;

export function explanationLines({ question, verdict, flows }: Explanation, input: PolicyInput): string[] {
  return [
    `${question}: ${verdictWords[verdict]}`,
    ...flows.flatMap(({ destination, port, via, verdict: { allowed, egress, ingress } }) => [
      `  ${allowed ? 'allowed' : 'denied '} at ${destination} port ${port}${via === '' ? '' : ` (${via})`}`,
      ...directionLines('egress', egress, input),
      ...directionLines('ingress', ingress, input),
    ]),
  ];
}

function directionLines(word: string, verdict: DirectionVerdict, { policyDocuments }: PolicyInput): string[] {
  const walk = verdict.steps.map(({ tier, action, why }) => `[${tier}] ${action} (${why})`);
  const last = verdict.steps.at(-1);
  if (last === undefined || last.action === 'Pass') walk.push(verdict.why);
  const names = new Set(verdict.steps.flatMap(({ policies }) => policies));
  const origins = policyDocuments.filter(({ namespace, name }) =>
    names.has(namespace === '' ? name : `${namespace}/${name}`),
  );
  return [
    `    ${word.padEnd(7)} ${verdict.allowed ? 'allowed' : 'denied '}  ${walk.join(' -> ')}`,
    ...origins.map(
      ({ namespace, name, origin }) =>
        `                     ${namespace === '' ? name : `${namespace}/${name}`}: ${origin}`,
    ),
    ...(verdict.ambiguous
      ? ['                     policies of equal priority disagree here: another plugin may decide otherwise']
      : []),
  ];
}

/** A pod as `namespace/name`, or an address; an address of a pod stands for the pod. */
function partyOf({ model }: PolicyInput, flag: string, text: string): Party {
  if (isIP(text) !== 0)
    return model.pods.find((pod) => pod.hostNetwork !== true && pod.addresses.includes(text)) ?? { address: text };
  const [namespace = '', name = '', ...rest] = text.replace(/^pod\//, '').split('/');
  if (name === '' || rest.length > 0) {
    throw new Problem(
      `${flag} ${text} is neither namespace/pod nor an address`,
      `Write it like ${flag} default/web-0.`,
    );
  }
  const pod = model.pods.find((one) => one.namespace === namespace && one.name === name);
  if (pod !== undefined) return pod;
  const near = model.pods.filter((one) => one.namespace === namespace).map(partyName);
  throw new Problem(
    `${flag} ${text}: there is no such pod`,
    near.length > 0
      ? `Pods there: ${near.slice(0, 10).join(', ')}.`
      : `Namespaces with pods: ${[...new Set(model.pods.map((one) => one.namespace))].slice(0, 10).join(', ') || 'none'}.`,
  );
}

/** As `partyOf`, or a Service: `svc/namespace/name`, `name.namespace.svc`, or `namespace/name` where no pod has the name. */
function targetOf(input: PolicyInput, text: string): Target {
  const dotted = /^([^./]+)\.([^./]+)\.svc(\..*)?$/.exec(text);
  const slashed = /^(?:svc|service)\/([^/]+)\/([^/]+)$/.exec(text);
  const [namespace, name] =
    dotted !== null ? [dotted[2], dotted[1]] : slashed !== null ? [slashed[1], slashed[2]] : text.split('/');
  const service = input.model.services?.find((one) => one.namespace === namespace && one.name === name);
  const isPodName = input.model.pods.some((pod) => isPod(pod) && pod.namespace === namespace && pod.name === name);
  const asService = dotted !== null || slashed !== null;
  if (service !== undefined && (asService || !isPodName)) return { service };
  if (asService) {
    const names = (input.model.services ?? []).map((one) => `${one.namespace}/${one.name}`);
    throw new Problem(
      `--to ${text}: there is no such Service`,
      `Services: ${names.slice(0, 10).join(', ') || 'none'}.`,
    );
  }
  return partyOf(input, '--to', text);
}
