// SPDX-License-Identifier: Apache-2.0
/**
 * Looks before the run leaps: each check says what it found, and what to do about it. Checks build on each other, so the first one that
 * fails ends the row; a warning does not.
 */
import type { KubeConfig } from '@kubernetes/client-node';
import type { ClusterFacts } from '../../suites/case.ts';
import type { KubeClients } from '../../suites/kube-clients.ts';
import { messageOf } from '../problem.ts';
import type { EventBody, PreflightChecked } from '../results/events.ts';
import { isReady, readFacts, readIdentity, type ClusterIdentity } from './cluster-facts.ts';
import { clientCertificateTrouble } from './kubeconfig.ts';

export type CheckResult = Omit<PreflightChecked, 'type' | 'time' | 'name' | 'durationMs'>;

export interface PreflightReport {
  readonly identity: ClusterIdentity;
  readonly facts: ClusterFacts;
}

export interface PreflightInput {
  readonly kube: KubeClients;
  readonly config: KubeConfig;
  readonly server: string;
  readonly now: () => Date;
  readonly record: (event: EventBody) => void;
}

/** A check that failed: its message and remedy are already recorded. */
export class PreflightFailed extends Error {
  override readonly name = 'PreflightFailed';
  readonly remedy: string;
  constructor(check: string, result: CheckResult) {
    super(`preflight check "${check}" failed: ${result.message}`);
    this.remedy = result.remedy ?? '';
  }
}

/** Runs a check, records it with its duration, and throws PreflightFailed if it failed. */
export async function check<T>(
  name: string,
  record: PreflightInput['record'],
  body: () => Promise<CheckResult & { readonly value: T }>,
): Promise<T> {
  const start = performance.now();
  const { value, ...result } = await body();
  record({ type: 'preflight-checked', name, ...result, durationMs: Math.round(performance.now() - start) });
  if (result.status === 'failed') throw new PreflightFailed(name, result);
  return value;
}

/** The checks that need nothing but reading: API, version, rights, nodes. */
export async function readOnlyChecks(input: PreflightInput): Promise<PreflightReport> {
  const { kube, record } = input;
  await check('client certificate', record, async () => {
    const trouble = clientCertificateTrouble(input.config, input.now());
    if (trouble === undefined) return { status: 'ok', message: 'valid, or none is used', value: undefined };
    return {
      status: 'failed',
      message: trouble,
      remedy:
        'Get a new kubeconfig from whoever runs the cluster (embedded cluster: plumb cluster down, then up), and check the clock of this machine.',
      value: undefined,
    };
  });
  const identity = await check('API server', record, () => checkApi(kube, input.server));
  await check('rights', record, () => checkRights(kube));
  const facts = await check('nodes', record, () => checkNodes(kube, identity.serverVersion));
  return { identity, facts };
}

const minorMin = 24;

async function checkApi(kube: KubeClients, server: string): Promise<CheckResult & { value: ClusterIdentity }> {
  const nothing: ClusterIdentity = { uid: '', serverVersion: '', platform: '' };
  let status: number;
  try {
    ({ status } = await kube.request({ path: '/version', timeoutMs: 10_000 }));
  } catch (error) {
    return {
      status: 'failed',
      message: `${server} cannot be reached: ${messageOf(error)}`,
      remedy: reachRemedy(error, server),
      value: nothing,
    };
  }
  if (status === 401) {
    return {
      status: 'failed',
      message: `${server} does not accept the credentials of the kubeconfig (401 Unauthorized)`,
      remedy: 'They are wrong, expired or of another cluster: get new ones, or choose another context with --context.',
      value: nothing,
    };
  }
  if (status >= 500) {
    return {
      status: 'failed',
      message: `${server} answers ${status} to /version`,
      remedy: 'Look at the log of the API server.',
      value: nothing,
    };
  }
  const identity = await readIdentity(kube);
  const minor = Number(/^v1\.(\d+)/.exec(identity.serverVersion)?.[1] ?? Number.NaN);
  const message = `${server} is Kubernetes ${identity.serverVersion} on ${identity.platform}`;
  if (Number.isNaN(minor) || minor < minorMin) {
    return {
      status: 'warning',
      message: `${message}; cases are written for v1.${minorMin} and newer`,
      value: identity,
    };
  }
  return { status: 'ok', message, value: identity };
}

/** What to do about a connection that could not be made, by its error code. */
export function reachRemedy(error: unknown, server: string): string {
  const code = codeOf(error);
  switch (code) {
    case 'ECONNREFUSED':
      return `Nothing listens there: start the cluster, or correct the server in the kubeconfig (now ${server}).`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'The name does not resolve: correct the server in the kubeconfig, or join the network (VPN) that knows it.';
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'ETIMEDOUT':
    case 'UND_ERR_CONNECT_TIMEOUT':
      return 'No way leads there: check routes, VPN and firewalls between this machine and the API server.';
    case 'CERT_HAS_EXPIRED':
      return "The server's certificate has expired: renew it (kubeadm certs renew apiserver), and check the clock of this machine.";
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return "The server's certificate is for other names: use one of them in the kubeconfig, or set tls-server-name.";
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'CERT_SIGNATURE_FAILURE':
      return 'The kubeconfig trusts another CA than the one that signed the server: it is of another (or an earlier) cluster. Get a new one.';
    default:
      return `Try: curl -k ${server}/version`;
  }
}

function codeOf(error: unknown): string | undefined {
  for (let current: unknown = error, depth = 0; typeof current === 'object' && current !== null && depth < 8; depth++) {
    if ('code' in current && typeof current.code === 'string') return current.code;
    if ('name' in current && current.name === 'TimeoutError') return 'ETIMEDOUT';
    const inner: unknown = 'errors' in current && Array.isArray(current.errors) ? current.errors[0] : undefined;
    current = inner ?? ('cause' in current ? current.cause : undefined);
  }
  return undefined;
}

interface Right {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource?: string;
}

/** Without these no run is possible. */
const rightsNeeded: readonly Right[] = [
  { verb: 'list', group: '', resource: 'nodes' },
  { verb: 'create', group: '', resource: 'namespaces' },
  { verb: 'delete', group: '', resource: 'namespaces' },
  { verb: 'create', group: '', resource: 'pods' },
  { verb: 'create', group: '', resource: 'pods', subresource: 'exec' },
  { verb: 'create', group: '', resource: 'services' },
  { verb: 'create', group: 'apps', resource: 'deployments' },
  { verb: 'create', group: 'networking.k8s.io', resource: 'networkpolicies' },
];

/** Without these some cases fail for want of rights rather than for a fault of the cluster. */
const rightsWanted: readonly Right[] = [
  { verb: 'create', group: 'scheduling.k8s.io', resource: 'priorityclasses' },
  { verb: 'create', group: 'storage.k8s.io', resource: 'storageclasses' },
  { verb: 'create', group: 'rbac.authorization.k8s.io', resource: 'clusterroles' },
  { verb: 'create', group: 'apiextensions.k8s.io', resource: 'customresourcedefinitions' },
  { verb: 'patch', group: '', resource: 'nodes' },
  { verb: 'get', group: '', resource: 'nodes', subresource: 'proxy' },
];

async function checkRights(kube: KubeClients): Promise<CheckResult & { value: undefined }> {
  const refused = async (rights: readonly Right[]): Promise<string[]> => {
    const allowed = await Promise.all(rights.map((right) => mayI(kube, right)));
    return rights.filter((_, index) => allowed[index] !== true).map(describeRight);
  };
  let missing: string[];
  let unwanted: string[];
  try {
    [missing, unwanted] = await Promise.all([refused(rightsNeeded), refused(rightsWanted)]);
  } catch (error) {
    const remedy = 'The server must serve authorization.k8s.io/v1 to every user (ClusterRole system:basic-user).';
    return {
      status: 'failed',
      message: `the rights cannot be asked for: ${messageOf(error)}`,
      remedy,
      value: undefined,
    };
  }
  if (missing.length > 0) {
    return {
      status: 'failed',
      message: `the user of the kubeconfig may not ${missing.join(', ')}`,
      remedy: 'Use a kubeconfig with the ClusterRole cluster-admin, or ask for these rights.',
      value: undefined,
    };
  }
  if (unwanted.length > 0) {
    return {
      status: 'warning',
      message: `the user of the kubeconfig may not ${unwanted.join(', ')}: cases that need this will fail`,
      remedy: 'Use a kubeconfig with the ClusterRole cluster-admin.',
      value: undefined,
    };
  }
  return {
    status: 'ok',
    message: `all ${rightsNeeded.length + rightsWanted.length} rights that a run uses`,
    value: undefined,
  };
}

async function mayI(kube: KubeClients, right: Right): Promise<boolean> {
  const { verb, group, resource, subresource } = right;
  const review = await kube.authorization.createSelfSubjectAccessReview({
    body: {
      spec: { resourceAttributes: { verb, group, resource, ...(subresource === undefined ? {} : { subresource }) } },
    },
  });
  return review.status?.allowed === true;
}

function describeRight(right: Right): string {
  const resource = right.subresource === undefined ? right.resource : `${right.resource}/${right.subresource}`;
  return `${right.verb} ${resource}${right.group === '' ? '' : `.${right.group}`}`;
}

async function checkNodes(kube: KubeClients, serverVersion: string): Promise<CheckResult & { value: ClusterFacts }> {
  const facts = await readFacts(kube, serverVersion);
  const unready = facts.nodes.filter((node) => !isReady(node)).map((node) => node.metadata?.name);
  if (facts.workers.length === 0) {
    return {
      status: 'failed',
      message: `none of the ${facts.nodes.length} nodes is Ready and takes ordinary pods${unready.length === 0 ? '' : ` (not Ready: ${unready.join(', ')})`}`,
      remedy: 'kubectl describe nodes says why; a run needs one node at least, two for the network.',
      value: facts,
    };
  }
  const message = `${facts.nodes.length - unready.length} of ${facts.nodes.length} Ready, ${facts.workers.length} for ordinary pods`;
  if (unready.length > 0)
    return { status: 'warning', message: `${message}; not Ready: ${unready.join(', ')}`, value: facts };
  return { status: 'ok', message, value: facts };
}
