// SPDX-License-Identifier: Apache-2.0
/** The preflight checks that need a pod: the probe image can be had, exec works, the cluster's DNS answers. */
import type { V1Pod } from '@kubernetes/client-node';
import type { KubeClients } from '../../suites/kube-clients.ts';
import { readableMessage } from '../execute/failure.ts';
import { Problem } from '../problem.ts';
import { check, type CheckResult, type PreflightInput } from './preflight.ts';
import { startProbePod } from './probe-pod.ts';

export interface PodCheckInput {
  readonly kube: KubeClients;
  readonly record: PreflightInput['record'];
  readonly namespace: string;
  readonly runId: string;
  readonly image: string;
  readonly signal: AbortSignal;
}

export interface PodCheckReport {
  readonly pod: V1Pod;
  readonly clusterDomain: string;
}

export async function podChecks(input: PodCheckInput): Promise<PodCheckReport> {
  const pod = await check('probe image', input.record, () => checkImage(input));
  const clusterDomain = await check('cluster DNS', input.record, () => checkDns(input));
  return { pod, clusterDomain };
}

async function checkImage(input: PodCheckInput): Promise<CheckResult & { value: V1Pod }> {
  const name = 'preflight';
  try {
    // Serves a page as well, as the positive control of the feature `network-policy`.
    const script = 'mkdir -p /tmp/www && echo plumb >/tmp/www/index.html && exec busybox httpd -f -p 8080 -h /tmp/www';
    const pod = await startProbePod(input.kube, { ...input, name, script, labels: { app: name } });
    return {
      status: 'ok',
      message: `${input.image} runs on node ${pod.spec?.nodeName} as ${pod.status?.podIP}`,
      value: pod,
    };
  } catch (error) {
    if (input.signal.aborted) throw error;
    const remedy =
      error instanceof Problem
        ? error.remedy
        : `kubectl describe pod -n ${input.namespace} ${name} says why (see also --no-cleanup).`;
    return { status: 'failed', message: readableMessage(error), remedy, value: {} };
  }
}

const lookUp = 'kubernetes.default.svc';
const tries = 5;

async function checkDns(input: PodCheckInput): Promise<CheckResult & { value: string }> {
  const target = { namespace: input.namespace, pod: 'preflight', container: 'probe', signal: input.signal };
  const fallback = 'cluster.local';
  try {
    const { stdout: resolvConf } = await input.kube.exec(['cat', '/etc/resolv.conf'], target);
    const domain = /\bsvc\.([a-z0-9.-]+)/.exec(/^search\s+(.*)$/m.exec(resolvConf)?.[1] ?? '')?.[1] ?? fallback;
    let answer = '';
    for (let attempt = 1; attempt <= tries; attempt++) {
      const { exitCode, stdout, stderr } = await input.kube.exec(
        ['busybox', 'nslookup', `${lookUp}.${domain}.`],
        target,
      );
      if (exitCode === 0) {
        const address = /Address(?: 1)?: ([0-9a-f.:]+)\s*$/m.exec(stdout)?.[1] ?? 'an address';
        const message = `${lookUp}.${domain} is ${address}${attempt === 1 ? '' : ` (at attempt ${attempt})`}`;
        return attempt === 1 ? { status: 'ok', message, value: domain } : { status: 'warning', message, value: domain };
      }
      answer = `${stdout}${stderr}`.trim().split('\n').at(-1) ?? '';
    }
    return {
      // The cases say more precisely what does not work; a cluster without DNS is a finding, no obstacle.
      status: 'warning',
      message: `${lookUp}.${domain} does not resolve in a pod: ${answer}`,
      remedy: 'Look at the pods behind kube-system/kube-dns, and at `plumb run --focus ^dns`.',
      value: domain,
    };
  } catch (error) {
    if (input.signal.aborted) throw error;
    return {
      status: 'failed',
      message: `commands cannot be executed in pods: ${readableMessage(error)}`,
      remedy:
        'exec goes from the API server to port 10250 of the node: check that path, and proxies that do not let WebSockets through.',
      value: fallback,
    };
  }
}
