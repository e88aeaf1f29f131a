// SPDX-License-Identifier: Apache-2.0
// Registry credentials out of imagePullSecrets: which entry of which docker config matches an image. Pure.
import type { AuthConfig } from '../grpc/runtime-v1.types.ts';
import type { Outgoing } from '../grpc/service-client.ts';

export interface RegistrySecret {
  readonly type: string;
  /** Decoded values. */
  readonly data: Readonly<Record<string, Buffer>>;
}

interface DockerAuth {
  readonly username?: string;
  readonly password?: string;
  readonly auth?: string;
  readonly identitytoken?: string;
}

/** Credentials to try, the most specific first. Malformed secrets are passed over, as a pull may succeed without. */
export function credentialsFor(image: string, secrets: readonly RegistrySecret[]): Outgoing<AuthConfig>[] {
  const target = canonicalName(image);
  const found: { key: string; auth: Outgoing<AuthConfig> }[] = [];
  for (const secret of secrets) {
    for (const [registry, entry] of Object.entries(authsOf(secret))) {
      const key = registry
        .replace(/^https?:\/\//, '')
        .replace(/\/v[12]\/?$/, '')
        .replace(/\/$/, '');
      if (!matches(key, target)) continue;
      const [user, ...rest] = entry.auth ? Buffer.from(entry.auth, 'base64').toString('utf8').split(':') : [];
      found.push({
        key,
        auth: {
          username: entry.username ?? user ?? '',
          password: entry.password ?? rest.join(':'),
          identityToken: entry.identitytoken ?? '',
          serverAddress: registry,
        },
      });
    }
  }
  return found.toSorted((a, b) => b.key.length - a.key.length).map(({ auth }) => auth);
}

function authsOf(secret: RegistrySecret): Record<string, DockerAuth> {
  try {
    const modern = secret.data['.dockerconfigjson'];
    if (modern) return (JSON.parse(modern.toString('utf8')) as { auths?: Record<string, DockerAuth> }).auths ?? {};
    const old = secret.data['.dockercfg'];
    if (old) return JSON.parse(old.toString('utf8')) as Record<string, DockerAuth>;
  } catch {
    // Not JSON: nothing in it can match.
  }
  return {};
}

/** `registry/path`, with Docker Hub's name and `library/` spelt out. */
function canonicalName(image: string): string {
  const bare = image.replace(/@.*$/, '').replace(/:[^/:]*$/, '');
  const [first = '', ...rest] = bare.split('/');
  const hasHost = rest.length > 0 && (first.includes('.') || first.includes(':') || first === 'localhost');
  if (hasHost) return bare;
  return `index.docker.io/${rest.length === 0 ? `library/${bare}` : bare}`;
}

/** Host globs match label by label; a path is a prefix. */
function matches(key: string, target: string): boolean {
  const [keyHost = '', ...keyPath] = key.replace(/^docker\.io/, 'index.docker.io').split('/');
  const [host = '', ...path] = target.split('/');
  const keyLabels = keyHost.split('.');
  const labels = host.split('.');
  if (keyLabels.length !== labels.length) return false;
  const fits = keyLabels.every((label, index) => {
    const pattern = label
      .split('*')
      .map((part) => part.replaceAll(/[^\w:-]/g, String.raw`\$&`))
      .join('.*');
    return new RegExp(`^${pattern}$`).test(labels[index] ?? '');
  });
  return fits && path.join('/').startsWith(keyPath.join('/'));
}
