// SPDX-License-Identifier: Apache-2.0
// Pushes an image to a registry by the OCI distribution protocol. Credentials come from docker's config.json; registries
// that ask for a bearer token get one from the server that they name.

import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

import { blobPath, type Descriptor, type WrittenImage } from './layout-archive.ts';

export interface Reference {
  /** Host and port of the registry. */
  readonly host: string;
  readonly repository: string;
  readonly tag: string;
}

export interface Push {
  readonly image: WrittenImage;
  /** The layout directory that holds the image's blobs. */
  readonly directory: string;
  readonly target: Reference;
  /** Plain HTTP. */
  readonly insecure: boolean;
}

/** Errors: a reference without a registry, repository or with bad characters, with an example of a good one. */
export function parseReference(text: string): Reference {
  const match = /^([a-z0-9.-]+(?::\d+)?)\/([a-z0-9]+(?:[._/-]+[a-z0-9]+)*)(?::([\w][\w.-]{0,127}))?$/.exec(text);
  const [, host = '', repository = '', tag = 'latest'] = match ?? [];
  if (match === null || !(host.includes('.') || host.includes(':') || host === 'localhost')) {
    throw new Error(`"${text}" names no registry: write it as registry.example.com/team/plumb-probe:1`);
  }
  return { host, repository, tag };
}

/** Uploads what the registry does not have yet. Errors name the registry, the step and its answer. */
export async function pushImage({ image, directory, target, insecure }: Push): Promise<void> {
  const registry = new Registry(target, insecure);
  for (const blob of [...image.layers, image.config]) await registry.uploadBlob(blob, blobPath(directory, blob.digest));
  await registry.putManifest(image.manifest, readFileSync(blobPath(directory, image.manifest.digest)));
}

class Registry {
  readonly #base: string;
  readonly #target: Reference;
  #authorization: string | undefined;

  constructor(target: Reference, insecure: boolean) {
    this.#target = target;
    const plain = insecure || /^(localhost|127\.0\.0\.1)(:|$)/.test(target.host);
    this.#base = `${plain ? 'http' : 'https'}://${target.host}/v2/${target.repository}`;
  }

  async uploadBlob(blob: Descriptor, file: string): Promise<void> {
    const known = await this.#send('HEAD', `${this.#base}/blobs/${blob.digest}`, { accept: [404] });
    if (known.status === 200) return;
    const begun = await this.#send('POST', `${this.#base}/blobs/uploads/`);
    const location = begun.headers.get('location');
    if (location === null) throw new Error(`${this.#target.host} began an upload without saying where to`);
    const url = new URL(location, this.#base);
    url.searchParams.set('digest', blob.digest);
    const headers = { 'content-type': 'application/octet-stream', 'content-length': String(blob.size) };
    await this.#send('PUT', url.href, { body: readFileSync(file), headers });
  }

  async putManifest(manifest: Descriptor, body: Buffer): Promise<void> {
    const headers = { 'content-type': manifest.mediaType };
    await this.#send('PUT', `${this.#base}/manifests/${this.#target.tag}`, { body, headers });
  }

  async #send(
    method: string,
    url: string,
    options: { body?: Buffer; headers?: Record<string, string>; accept?: readonly number[] } = {},
  ): Promise<Response> {
    for (let attempt = 1; ; attempt += 1) {
      const authorization: Record<string, string> =
        this.#authorization === undefined ? {} : { authorization: this.#authorization };
      const init = {
        method,
        headers: { ...options.headers, ...authorization },
        ...(options.body === undefined ? {} : { body: new Uint8Array(options.body) }),
      };
      const response = await fetch(url, init).catch((error: unknown) => {
        const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
        throw new Error(`${this.#target.host} cannot be reached (${cause}); for a registry without TLS add --insecure`);
      });
      if (response.ok || options.accept?.includes(response.status) === true) return response;
      const challenge = response.headers.get('www-authenticate');
      if (response.status === 401 && challenge !== null && attempt === 1) {
        this.#authorization = await this.#authorize(challenge);
        continue;
      }
      const said = (await response.text()).slice(0, 500);
      const remedy =
        response.status === 401 || response.status === 403 ? `; log in first: docker login ${this.#target.host}` : '';
      throw new Error(`${method} ${url} was answered with ${response.status}: ${said}${remedy}`);
    }
  }

  async #authorize(challenge: string): Promise<string> {
    const basic = storedCredentials(this.#target.host);
    if (/^basic\b/i.test(challenge)) {
      if (basic === undefined)
        throw new Error(
          `${this.#target.host} wants a user and password; log in first: docker login ${this.#target.host}`,
        );
      return `Basic ${basic}`;
    }
    const parameters = parseChallenge(challenge);
    if (parameters['realm'] === undefined)
      throw new Error(`${this.#target.host} asks for an authentication that is not known here: ${challenge}`);
    const url = new URL(parameters['realm']);
    if (parameters['service'] !== undefined) url.searchParams.set('service', parameters['service']);
    url.searchParams.set('scope', `repository:${this.#target.repository}:pull,push`);
    const response = await fetch(url, basic === undefined ? {} : { headers: { authorization: `Basic ${basic}` } });
    const answer = (await response.json()) as { token?: string; access_token?: string };
    const token = answer.token ?? answer.access_token;
    if (!response.ok || token === undefined)
      throw new Error(
        `${url.host} gave no token (${response.status}); log in first: docker login ${this.#target.host}`,
      );
    return `Bearer ${token}`;
  }
}

/** Parameters of a WWW-Authenticate header. */
export function parseChallenge(challenge: string): Record<string, string> {
  return Object.fromEntries(
    [...challenge.matchAll(/(\w+)="([^"]*)"/g)].map((match) => [match[1] ?? '', match[2] ?? '']),
  );
}

/** Base64 of user:password as "docker login" stores it without a credential helper. */
function storedCredentials(host: string): string | undefined {
  const file = join(process.env['DOCKER_CONFIG'] ?? join(homedir(), '.docker'), 'config.json');
  if (!existsSync(file)) return undefined;
  const config = JSON.parse(readFileSync(file, 'utf8')) as { auths?: Record<string, { auth?: string }> };
  return config.auths?.[host]?.auth ?? config.auths?.[`https://${host}`]?.auth;
}
