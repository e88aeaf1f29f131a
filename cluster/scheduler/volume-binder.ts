// SPDX-License-Identifier: Apache-2.0
// Writes the storage decisions of a cycle and waits until the claims are bound. Volumes promised to a claim stay promised
// until the API shows it, so that two pods never get the same one.
import type { PersistentVolume, PersistentVolumeClaim } from '../machinery/api-types.ts';
import type { Client } from '../machinery/client.ts';
import type { Informer } from '../machinery/informer.ts';
import { resources } from '../machinery/resources.ts';
import { isClaimBound } from './plugins/volumes.ts';
import type { ClaimBinding } from './plugins/volumes.ts';

const BIND_MS_MAX = 600_000;

export interface VolumeBinderOptions {
  readonly client: Client;
  readonly claims: Informer<PersistentVolumeClaim>;
  readonly volumes: Informer<PersistentVolume>;
}

export class VolumeBinder {
  readonly #options: VolumeBinderOptions;
  readonly #promised = new Map<string, string>();
  readonly #waiting = new Set<() => void>();

  constructor(options: VolumeBinderOptions) {
    this.#options = options;
    options.claims.onChange(() => {
      for (const check of this.#waiting) check();
    });
    options.volumes.onChange(({ object }) => {
      if (object.spec?.claimRef !== undefined) this.#promised.delete(object.metadata.name ?? '');
    });
  }

  promisedTo(volume: string): string | undefined {
    return this.#promised.get(volume);
  }

  /** Called in the synchronous part of the cycle, so that the next pod already sees the promise. */
  reserve(bindings: readonly ClaimBinding[]): void {
    for (const { claim, volume } of bindings) {
      if (volume !== undefined) this.#promised.set(volume.metadata.name ?? '', claimKey(claim));
    }
  }

  unreserve(bindings: readonly ClaimBinding[]): void {
    for (const { volume } of bindings) {
      if (volume !== undefined) this.#promised.delete(volume.metadata.name ?? '');
    }
  }

  /** Resolves when every claim is bound; rejects on a write error, after 10 minutes, or when the provisioner gives up. */
  async bind(bindings: readonly ClaimBinding[], nodeName: string, signal: AbortSignal): Promise<void> {
    for (const { claim, volume } of bindings) {
      const name = claim.metadata.name ?? '';
      const namespace = claim.metadata.namespace ?? '';
      if (volume === undefined) {
        await this.#options.client.patch(resources.persistentVolumeClaims, name, {
          namespace,
          type: 'merge',
          body: { metadata: { annotations: { 'volume.kubernetes.io/selected-node': nodeName } } },
        });
        continue;
      }
      await this.#options.client.patch(resources.persistentVolumes, volume.metadata.name ?? '', {
        type: 'merge',
        body: {
          metadata: {
            resourceVersion: volume.metadata.resourceVersion,
            annotations: { 'pv.kubernetes.io/bound-by-controller': 'yes' },
          },
          spec: {
            claimRef: { kind: 'PersistentVolumeClaim', apiVersion: 'v1', namespace, name, uid: claim.metadata.uid },
          },
        },
      });
    }
    await Promise.all(bindings.map(({ claim, volume }) => this.#untilBound(claim, volume === undefined, signal)));
  }

  #untilBound(claim: PersistentVolumeClaim, provisioned: boolean, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const name = claim.metadata.name ?? '';
      let selected = false;
      const finish = (error?: Error) => {
        this.#waiting.delete(check);
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        if (error === undefined) resolve();
        else reject(error);
      };
      const check = () => {
        const current = this.#options.claims.get(name, claim.metadata.namespace);
        if (current === undefined)
          return finish(new Error(`persistentvolumeclaim "${name}" was deleted while binding`));
        if (isClaimBound(current)) return finish();
        const annotated = current.metadata.annotations?.['volume.kubernetes.io/selected-node'] !== undefined;
        selected ||= annotated;
        // A provisioner that cannot serve the chosen node takes the annotation away again.
        if (provisioned && selected && !annotated)
          finish(new Error(`provisioning for "${name}" failed on the selected node`));
      };
      const onAbort = () => finish(new Error('the scheduler stops'));
      const timer = setTimeout(
        () => finish(new Error(`timed out waiting for persistentvolumeclaim "${name}" to be bound`)),
        BIND_MS_MAX,
      );
      signal.addEventListener('abort', onAbort);
      this.#waiting.add(check);
      check();
    });
  }
}

function claimKey(claim: PersistentVolumeClaim): string {
  return `${claim.metadata.namespace ?? ''}/${claim.metadata.name ?? ''}`;
}
