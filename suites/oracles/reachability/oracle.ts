// SPDX-License-Identifier: Apache-2.0
/**
 * Decides from the objects alone whether a flow may pass, and says which rule decides. It passes when its source may send it and its
 * destination may receive it. Each direction asks the tiers in turn: ClusterNetworkPolicies of the Admin tier, then NetworkPolicy, then
 * ClusterNetworkPolicies of the Baseline tier; where none decides, the direction is open. What the APIs leave to the implementation is taken
 * as most plugins do: pods in the host network count as their node, and policies see addresses after a Service's translation.
 */
import { judgeClusterTier } from './cluster-tier.ts';
import { judgeNetworkPolicies } from './network-policy-tier.ts';
import {
  isPod,
  partyName,
  type DirectionVerdict,
  type Family,
  type Flow,
  type Model,
  type Party,
  type Question,
  type TierStep,
  type Verdict,
} from './model.ts';
import { familyOf } from './selectors.ts';

export function judge(model: Model, flow: Flow): Verdict {
  const { source, destination } = flow;
  const family = flow.family ?? commonFamily(source, destination);
  const addresses = [source, destination].map((party) => addressIn(party, family));
  const [sourceAddress, destinationAddress] = addresses;
  if (sourceAddress === undefined || destinationAddress === undefined) {
    const without = partyName(sourceAddress === undefined ? source : destination);
    const missing = open(`${without} has no ${family === undefined ? '' : `IPv${family} `}address in common`, false);
    return { allowed: false, egress: missing, ingress: missing };
  }
  const toItself = isSamePod(source, destination);
  // Such packets never leave the pod's network namespace.
  if (toItself && flow.throughService !== true) {
    const self = open('a pod reaches itself');
    return { allowed: true, egress: self, ingress: self };
  }
  const ask = (type: Question['type']): DirectionVerdict => {
    const [subject, peer, peerAddress] =
      type === 'Egress' ? [source, destination, destinationAddress] : [destination, source, sourceAddress];
    if (!isPod(subject)) return open(`${partyName(subject)} is no pod, so no policy holds for it`);
    if (subject.hostNetwork === true)
      return open(`${partyName(subject)} is in its node's network, no policy selects it`);
    return direction({ model, flow, type, subject, peer, peerAddress }, toItself);
  };
  const egress = ask('Egress');
  const ingress = ask('Ingress');
  return { allowed: egress.allowed && ingress.allowed, egress, ingress };
}

function direction(question: Question, toItself: boolean): DirectionVerdict {
  const steps: TierStep[] = [];
  const tiers = [
    () => judgeClusterTier('Admin', question),
    // A NetworkPolicy can never keep a pod from itself.
    () => (toItself ? undefined : judgeNetworkPolicies(question)),
    () => judgeClusterTier('Baseline', question),
  ];
  for (const tier of tiers) {
    const step = tier();
    if (step === undefined) continue;
    steps.push(step);
    if (step.action !== 'Pass') {
      const ambiguous = steps.some((one) => one.ambiguous === true);
      return { allowed: step.action === 'Accept', why: step.why, steps, ambiguous };
    }
  }
  const { subject, type } = question;
  const passed = steps.length > 0 ? ` (passed on by ${steps.map(({ why }) => why).join(', ')})` : '';
  return {
    allowed: true,
    why: `default: no policy selects ${partyName(subject)} for ${type.toLowerCase()}${passed}`,
    steps,
    ambiguous: steps.some((one) => one.ambiguous === true),
  };
}

function open(why: string, allowed = true): DirectionVerdict {
  return { allowed, why, steps: [], ambiguous: false };
}

function isSamePod(one: Party, other: Party): boolean {
  return isPod(one) && isPod(other) && one.namespace === other.namespace && one.name === other.name;
}

function commonFamily(one: Party, other: Party): Family | undefined {
  return ([4, 6] as const).find(
    (family) => addressIn(one, family) !== undefined && addressIn(other, family) !== undefined,
  );
}

export function addressIn(party: Party, family: Family | undefined): string | undefined {
  const addresses = isPod(party) ? party.addresses : [party.address];
  return addresses.find((address) => familyOf(address) === family);
}
