// SPDX-License-Identifier: Apache-2.0
/**
 * Rules that would drop the probes, worked out from a node's state where the kernel traced none: iptables-legacy is not seen by nft's trace, and
 * rules at an interface's ingress come before it. Pure.
 */
import type { NodeState } from '../node-state/node-state.ts';
import { evaluatePacket, prepareRules } from '../node-state/rules/evaluate.ts';
import { ruleText } from '../node-state/rules/nft-text.ts';
import type { RuleStep, Sighting } from './observations.ts';

/** In place of the kernel's identifier of a trace. */
export const evaluated = 'evaluated';

/** @param last where the packet was seen last on this node, as it was there. */
export function rulesThatDrop(state: NodeState, last: Sighting): RuleStep[] {
  const atIngress = ingressRules(state, last.place.interface);
  const protocol = last.protocol === 6 ? 'tcp' : last.protocol === 17 ? 'udp' : String(last.protocol);
  const { source, sourcePort, destination, destinationPort } = last;
  const packet = { source, sourcePort, destination, port: destinationPort, protocol };
  const inDevice = last.place.kind === 'pod' ? undefined : last.place.interface;
  const outcomes = evaluatePacket(
    prepareRules(state),
    packet,
    inDevice === undefined ? { fromNode: true } : { inDevice },
  );
  const [first] = outcomes;
  // Where chance decides, or rules were not understood, this is no proof.
  if (first === undefined || outcomes.some(({ end, doubts }) => end !== first.end || doubts.length > 0))
    return atIngress;
  const { end, by, policyOf } = first;
  if (end !== 'dropped' && end !== 'rejected') return atIngress;
  const step = { node: state.node, trace: evaluated, verdict: 'drop', packet: undefined };
  if (by !== undefined && policyOf === undefined) {
    const table = by.backend === 'nft' ? `${by.family} ${by.table}` : `${by.backend} ${by.table}`;
    return [{ ...step, table, chain: by.chain, rule: by.text }, ...atIngress];
  }
  return policyOf === undefined
    ? atIngress
    : [{ ...step, table: 'of the chain', chain: policyOf, rule: undefined }, ...atIngress];
}

/** Whether they fit the packet is not known: they are named as they are. */
function ingressRules({ node, nft }: NodeState, device: string): RuleStep[] {
  return (nft?.tables ?? [])
    .filter(({ family }) => family === 'netdev')
    .flatMap(({ name, chains }) =>
      chains
        .filter(({ hook }) => hook?.name === 'ingress')
        .flatMap(({ name: chain, rules }) =>
          rules
            .filter(({ expressions }) => expressions.some((one) => 'drop' in one))
            .map(({ expressions }): RuleStep => ({
              node,
              trace: evaluated,
              table: `netdev ${name}`,
              chain: `${chain} (ingress, perhaps of ${device})`,
              rule: ruleText(expressions),
              verdict: 'drop',
              packet: undefined,
            })),
        ),
    );
}
