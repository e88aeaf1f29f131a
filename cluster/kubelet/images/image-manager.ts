// SPDX-License-Identifier: Apache-2.0
// Makes sure that a container's image is on the node, by its pull policy, with credentials from imagePullSecrets and with back-off after
// failures. Pulls of the same image at the same time are one pull.
import type { Container, EphemeralContainer, Pod } from '../../machinery/api-types.ts';
import { describeError } from '../../machinery/log.ts';
import type { Runtime, SandboxConfig } from '../cri/runtime.ts';
import { grpcMessage } from '../grpc/service-client.ts';
import type { AuthConfig } from '../grpc/runtime-v1.types.ts';
import type { Outgoing } from '../grpc/service-client.ts';
import { BackOff, goDuration } from '../pods/back-off.ts';
import { credentialsFor } from './credentials.ts';
import type { RegistrySecret } from './credentials.ts';

/** Why there is no image, in the words that a container's waiting state uses. */
export class ImageError extends Error {
  override readonly name = 'ImageError';
  readonly reason: 'ErrImagePull' | 'ImagePullBackOff' | 'ErrImageNeverPull' | 'InvalidImageName' | 'ImageInspectError';
  readonly retryAfterMs: number;

  constructor(reason: ImageError['reason'], message: string, retryAfterMs = 0) {
    super(message);
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }
}

export interface PresentImage {
  readonly id: string;
  readonly user: { readonly uid: number | undefined; readonly name: string };
}

export interface PullRequest {
  readonly pod: Pod;
  readonly container: Container | EphemeralContainer;
  readonly secrets: readonly RegistrySecret[];
  readonly sandboxConfig: SandboxConfig;
  readonly onEvent: (type: 'Normal' | 'Warning', reason: string, message: string) => void;
  readonly signal: AbortSignal;
}

export class ImageManager {
  readonly #runtime: Runtime;
  readonly #now: () => number;
  readonly #backOff = new BackOff({ initialMs: 10_000, maxMs: 300_000 });
  readonly #failures = new Map<string, { at: number; message: string }>();
  readonly #pulling = new Map<string, Promise<string>>();
  /** When each image was last asked for, for garbage collection. */
  readonly lastUsed = new Map<string, number>();

  constructor(runtime: Runtime, now: () => number = Date.now) {
    this.#runtime = runtime;
    this.#now = now;
  }

  /** Errors: ImageError. */
  async ensure(request: PullRequest): Promise<PresentImage> {
    const { container, pod } = request;
    const image = withDefaultTag(container.image ?? '');
    if (image === undefined) {
      const message = `Failed to apply default image tag "${container.image}": couldn't parse image name "${container.image}": invalid reference format`;
      request.onEvent('Warning', 'InspectFailed', message);
      throw new ImageError('InvalidImageName', message);
    }
    const policy = container.imagePullPolicy ?? (image.endsWith(':latest') ? 'Always' : 'IfNotPresent');
    const present = await this.#inspect(image);
    if (present && policy !== 'Always') {
      request.onEvent(
        'Normal',
        'Pulled',
        `Container image "${container.image}" already present on machine and can be accessed by the pod`,
      );
      return present;
    }
    if (!present && policy === 'Never') {
      const message = `Container image "${container.image}" is not present with pull policy of Never`;
      request.onEvent('Warning', 'ErrImageNeverPull', message);
      throw new ImageError('ErrImageNeverPull', message);
    }
    const key = `${pod.metadata.uid}_${image}`;
    const failure = this.#failures.get(key);
    const wait = failure ? this.#backOff.remaining(key, failure.at, this.#now()) : 0;
    if (failure && wait > 0) {
      const message = `Back-off pulling image "${container.image}": ${failure.message}`;
      request.onEvent('Normal', 'BackOff', `Back-off pulling image "${container.image}"`);
      throw new ImageError('ImagePullBackOff', message, wait);
    }
    request.onEvent('Normal', 'Pulling', `Pulling image "${container.image}"`);
    const startedAt = this.#now();
    try {
      await this.#pull(image, request);
    } catch (error) {
      const message = `failed to pull and unpack image: ${grpcMessage(error)}`.replace(
        /^failed to pull and unpack image: (?=failed)/,
        '',
      );
      request.onEvent('Warning', 'Failed', `Failed to pull image "${container.image}": ${message}`);
      request.onEvent('Warning', 'Failed', 'Error: ErrImagePull');
      this.#failures.set(key, { at: this.#now(), message: `ErrImagePull: ${message}` });
      this.#backOff.raise(key, this.#now());
      throw new ImageError('ErrImagePull', message, this.#backOff.delay(key));
    }
    this.#failures.delete(key);
    const pulled = await this.#inspect(image);
    if (!pulled) throw new ImageError('ImageInspectError', `image "${image}" is not on the node after its pull`);
    request.onEvent(
      'Normal',
      'Pulled',
      `Successfully pulled image "${container.image}" in ${goDuration(this.#now() - startedAt)}`,
    );
    return pulled;
  }

  forgetPod(uid: string): void {
    this.#backOff.forget(uid);
    for (const key of this.#failures.keys()) if (key.startsWith(uid)) this.#failures.delete(key);
  }

  async #inspect(image: string): Promise<PresentImage | undefined> {
    try {
      const found = await this.#runtime.imageStatus(image);
      if (found === undefined) return undefined;
      this.lastUsed.set(found.id, this.#now());
      return { id: found.id, user: { uid: found.uid?.value, name: found.username } };
    } catch (error) {
      throw new ImageError('ImageInspectError', `Failed to inspect image "${image}": ${describeError(error)}`);
    }
  }

  async #pull(image: string, request: PullRequest): Promise<void> {
    const shared = this.#pulling.get(image);
    // Someone else's pull may have used other credentials: its success is ours, its failure isn't.
    if (
      shared &&
      (await shared.then(
        () => true,
        () => false,
      ))
    )
      return;
    const candidates: (Outgoing<AuthConfig> | undefined)[] = credentialsFor(image, request.secrets);
    if (candidates.length === 0) candidates.push(undefined);
    let last: unknown;
    for (const auth of candidates) {
      const { sandboxConfig, signal } = request;
      const pull = this.#runtime.pullImage(image, { auth, sandboxConfig, signal });
      this.#pulling.set(image, pull);
      try {
        await pull;
        return;
      } catch (error) {
        last = error;
      } finally {
        this.#pulling.delete(image);
      }
    }
    throw last;
  }
}

/** The reference with `:latest` when it has neither tag nor digest; undefined when it can't be a reference. */
export function withDefaultTag(image: string): string | undefined {
  const path = String.raw`[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*`;
  const pattern = new RegExp(
    String.raw`^(?:[a-zA-Z0-9.\-\[\]:]+(?::\d+)?/)?${path}(?:/${path})*(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?$`,
  );
  const match = pattern.exec(image);
  if (!match) return /^(sha256:)?[0-9a-f]{64}$/.test(image) ? image : undefined;
  return match[1] === undefined && match[2] === undefined ? `${image}:latest` : image;
}
