// SPDX-License-Identifier: Apache-2.0
/** The verdict over a traced flow as a diagnosis. Pure. */
import type { TraceRecord } from '../../probes/trace/record.ts';
import type { Reason } from '../../probes/trace/verdict.ts';
import type { Diagnosis } from './diagnosis.ts';
import type { PlannedProbe } from './probe-plan.ts';

const components: Readonly<Record<Reason, string>> = {
  policy: 'network-policy',
  'default-deny': 'network-policy',
  'policy-engine': 'network-policy',
  'source-translated': 'network',
  'foreign-firewall': 'firewall',
  'no-endpoints': 'service',
  'not-programmed': 'kube-proxy',
  'stale-endpoint': 'kube-proxy',
  'no-listener': 'application',
  refused: 'application',
  application: 'application',
  'no-route': 'network',
  'neighbour-missing': 'network',
  mtu: 'network',
  tunnel: 'network',
  checksum: 'network',
  'link-down': 'network',
  'between-nodes': 'network',
  'reverse-path': 'node',
  'forwarding-off': 'node',
  'conntrack-full': 'node',
  'conntrack-clash': 'node',
  'node-down': 'kubelet',
  'name-resolution': 'dns',
  unknown: 'network',
};

/** How surely each is the cause; what a rule or a counter proves is surer than what only fits. */
const weights: Partial<Record<Reason, number>> = {
  'foreign-firewall': 94,
  policy: 86,
  'default-deny': 86,
  'policy-engine': 80,
  application: 58,
  'no-listener': 62,
  refused: 60,
  'name-resolution': 57,
  'between-nodes': 66,
  unknown: 20,
};
const weightDefault = 82;

/** undefined where the flow was delivered after all. */
export function verdictDiagnosis({ verdict, observations }: TraceRecord, probe: PlannedProbe): Diagnosis | undefined {
  const { outcome, reason = 'unknown', ended, summary, objects, evidence, next, rule } = verdict;
  if (outcome === 'delivered' && verdict.reason === undefined) return undefined;
  const { service, servers } = observations.question;
  const component = reason === 'no-endpoints' && probe.kind === 'dns' ? 'dns' : components[reason];
  const [server] = servers;
  // A policy forbids wherever it is enforced; who enforces what no policy says is one node's part.
  const isPlaceless =
    component === 'application' ||
    component === 'service' ||
    (component === 'network-policy' && reason !== 'policy-engine');
  return {
    reason,
    component,
    ...(ended === undefined || isPlaceless ? {} : { node: ended.node }),
    objects: [
      ...objects,
      ...(service === undefined ? [] : [`Service ${service.name}`]),
      ...(probe.service === undefined ? [] : [`Service ${probe.service}`]),
      ...(server?.kind === 'pod' && servers.length === 1 ? [`Pod ${server.name}`] : []),
    ].filter((one, index, all) => all.indexOf(one) === index),
    summary,
    evidence: [...(rule === undefined ? [] : [rule]), ...evidence],
    next,
    // A refusal alone does not prove whose it is.
    weight: reason === 'foreign-firewall' && rule === undefined ? weightDefault : (weights[reason] ?? weightDefault),
  };
}
