// SPDX-License-Identifier: Apache-2.0
/**
 * Finds the kubeconfig of the cluster to be tested, in this order: --kubeconfig, $KUBECONFIG, ~/.kube/config, the embedded cluster `plumb`.
 * Whatever the user named and is not usable is an error; only the absence of every source leads on to the embedded cluster.
 */
import { createHash, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { KubeConfig, type RequestContext } from '@kubernetes/client-node';
import { messageOf, Problem } from '../problem.ts';

export interface Target {
  readonly config: KubeConfig;
  /** Where it was found, in words. */
  readonly source: string;
  readonly server: string;
  readonly context: string;
  readonly embedded: boolean;
}

export type KubeconfigSource =
  | { readonly kind: 'files'; readonly paths: readonly string[]; readonly origin: string }
  | { readonly kind: 'embedded' };

/** Decides which source counts. Pure but for looking whether ~/.kube/config exists. */
export function kubeconfigSource(flag: string | undefined, environment: NodeJS.ProcessEnv): KubeconfigSource {
  if (flag !== undefined) return { kind: 'files', paths: [resolve(flag)], origin: '--kubeconfig' };
  const named = (environment['KUBECONFIG'] ?? '').split(delimiter).filter((path) => path !== '');
  if (named.length > 0) return { kind: 'files', paths: named.map((path) => resolve(path)), origin: '$KUBECONFIG' };
  const customary = join(environment['HOME'] ?? homedir(), '.kube', 'config');
  if (existsSync(customary)) return { kind: 'files', paths: [customary], origin: '~/.kube/config' };
  return { kind: 'embedded' };
}

/** Loads and checks one kubeconfig. Throws a Problem that names the file, what is wrong in it, and the remedy. */
export function loadTarget(
  paths: readonly string[],
  options: { readonly origin: string; readonly context?: string | undefined; readonly embedded?: boolean },
): Target {
  const present = paths.filter((path) => existsSync(path));
  const shown = paths.join(delimiter);
  if (present.length === 0) {
    throw new Problem(
      `kubeconfig ${shown} (from ${options.origin}) does not exist`,
      'Name an existing file with --kubeconfig FILE.',
    );
  }
  const config = new PooledKubeConfig();
  try {
    present.forEach((path, index) => {
      if (index === 0) config.loadFromFile(path);
      else {
        const more = new KubeConfig();
        more.loadFromFile(path);
        config.mergeConfig(more, true);
      }
    });
  } catch (error) {
    throw new Problem(
      `kubeconfig ${shown} (from ${options.origin}) cannot be read: ${messageOf(error)}`,
      'Check it with: kubectl config view --kubeconfig FILE',
      { cause: error },
    );
  }
  const contexts = config.getContexts().map((context) => context.name);
  if (options.context !== undefined) {
    if (!contexts.includes(options.context)) {
      throw new Problem(
        `context "${options.context}" is not in kubeconfig ${shown}`,
        contexts.length === 0
          ? 'The file has no contexts at all.'
          : `Choose one with --context: ${contexts.join(', ')}`,
      );
    }
    config.setCurrentContext(options.context);
  }
  const context = config.getCurrentContext();
  const cluster = config.getCurrentCluster();
  if (cluster === null) {
    throw new Problem(
      `kubeconfig ${shown} (from ${options.origin}) has no usable current context ("${context ?? ''}")`,
      contexts.length === 0
        ? 'The file has no contexts; write a new one.'
        : `Choose one with --context: ${contexts.join(', ')}`,
    );
  }
  if (!URL.canParse(cluster.server)) {
    throw new Problem(`kubeconfig ${shown}: server "${cluster.server}" is not a URL`, 'Write it as https://host:port.');
  }
  return {
    config,
    source: `${options.origin} ${shown}`,
    server: cluster.server,
    context,
    embedded: options.embedded === true,
  };
}

/** Says what is wrong with the client certificate of the current user, or undefined if there is none or it is valid at `now`. */
export function clientCertificateTrouble(config: KubeConfig, now: Date): string | undefined {
  const user = config.getCurrentUser();
  const pem =
    user?.certData !== undefined && user.certData !== ''
      ? Buffer.from(user.certData, 'base64').toString()
      : user?.certFile !== undefined && existsSync(user.certFile)
        ? readFileSync(user.certFile, 'utf8')
        : undefined;
  if (pem === undefined) return undefined;
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(pem);
  } catch (error) {
    return `the client certificate of user "${user?.name}" cannot be read: ${messageOf(error)}`;
  }
  const subject = certificate.subject.replaceAll('\n', ', ');
  if (new Date(certificate.validTo) < now)
    return `the client certificate (${subject}) expired on ${certificate.validTo}`;
  if (new Date(certificate.validFrom) > now)
    return `the client certificate (${subject}) is not valid before ${certificate.validFrom}`;
  return undefined;
}

/** An option of undici's agents that its types do not name. */
const http1 = { allowH2: false };

/**
 * client-node 2 makes a new undici agent, and with it a new TLS connection, for every request. This one keeps the first agent for as long as
 * the credentials stay the same, which makes a request cost 1 ms instead of 10. It speaks HTTP/1.1: where requests were aborted under way,
 * the HTTP/2 session of Node 24 was seen to copy the same data for ever, deaf to signals and growing by gigabytes.
 */
export class PooledKubeConfig extends KubeConfig {
  #pooled:
    | { readonly key: string; readonly dispatcher: NonNullable<ReturnType<RequestContext['getDispatcher']>> }
    | undefined;

  override async applySecurityAuthentication(context: RequestContext): Promise<void> {
    await super.applySecurityAuthentication(context);
    const fresh = context.getDispatcher();
    if (fresh === undefined) return;
    const key = this.#credentialsKey();
    if (this.#pooled?.key !== key) {
      const dispatcher = fresh.compose((dispatch) => (options, handler) => dispatch({ ...options, ...http1 }, handler));
      this.#pooled = { key, dispatcher };
    }
    context.setDispatcher(this.#pooled.dispatcher);
  }

  /** Changes with the context and with what an exec plugin or a rotated file puts into the user. */
  #credentialsKey(): string {
    const user = this.getCurrentUser();
    const material = [this.getCurrentContext(), user?.certData, user?.keyData, user?.certFile, user?.keyFile].join('|');
    return createHash('sha256').update(material).digest('hex');
  }
}
