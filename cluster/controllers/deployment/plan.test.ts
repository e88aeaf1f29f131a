// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import * as fc from 'fast-check';
import type { Deployment, Pod, ReplicaSet } from '../../machinery/api-types.ts';
import { limitsOf, planRollout } from './plan.ts';
import { newReplicaSet, sizeAnnotations } from './replica-sets.ts';
import { deploymentStatus } from './status.ts';

const now = Date.parse('2026-01-01T00:00:00Z');

function deployment(spec: object, image = 'new'): Deployment {
  return {
    metadata: { name: 'd', namespace: 'x', uid: 'u', generation: 1 },
    spec: {
      replicas: 10,
      selector: { matchLabels: { app: 'd' } },
      template: { metadata: { labels: { app: 'd' } }, spec: { containers: [{ name: 'c', image }] } },
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: '25%', maxUnavailable: '25%' } },
      ...spec,
    },
  };
}

function set(
  owner: Deployment,
  image: string,
  options: { size: number; available?: number; revision?: number | bigint; age?: number },
): ReplicaSet {
  const { size, available = size, revision = 1, age = Number(revision) } = options;
  const { maxSurge, replicas } = limitsOf(owner);
  const made = newReplicaSet(deployment(owner.spec ?? {}, image), {
    replicas: size,
    revision: BigInt(revision),
    maxSurge,
  });
  const template = { ...owner.spec?.template, spec: { containers: [{ name: 'c', image }] } };
  return {
    ...made,
    metadata: {
      ...made.metadata,
      name: `d-${image}`,
      uid: image,
      generation: 1,
      creationTimestamp: new Date(now + age * 1000).toISOString(),
      annotations: { ...made.metadata.annotations, ...sizeAnnotations(replicas, maxSurge) },
    },
    spec: {
      ...made.spec,
      template: { ...template, metadata: { labels: { ...made.spec?.template?.metadata?.labels } } },
    },
    status: { replicas: size, readyReplicas: available, availableReplicas: available, observedGeneration: 1 },
  };
}

/** The sizes that a plan leads to, by image. */
function sizes(owner: Deployment, sets: ReplicaSet[], pods: Pod[] = []): Record<string, number> {
  const plan = planRollout(owner, sets, () => pods);
  const result = Object.fromEntries(sets.map((one) => [one.metadata.uid, one.spec?.replicas ?? 0]));
  for (const step of plan.scale) result[step.set.metadata.uid ?? ''] = step.replicas;
  if (plan.create) result['new'] = plan.create.spec?.replicas ?? 0;
  return result;
}

describe('controllers/deployment plan', () => {
  const cases: [name: string, spec: object, sets: [string, number, number?][], expected: Record<string, number>][] = [
    ['creates the first set in full', {}, [], { new: 10 }],
    ['begins a roll-out with the surge', {}, [['old', 10]], { old: 10, new: 3 }],
    [
      'takes old pods away as far as availability allows',
      {},
      [
        ['old', 10],
        ['new', 3],
      ],
      { old: 5, new: 3 },
    ],
    [
      'grows the new set into the room',
      {},
      [
        ['old', 5],
        ['new', 3],
      ],
      { old: 5, new: 8 },
    ],
    [
      'takes unavailable old pods away first',
      {},
      [
        ['old', 10, 6],
        ['new', 3, 0],
      ],
      { old: 8, new: 3 },
    ],
    [
      'waits while the new pods are not available',
      {},
      [
        ['old', 8],
        ['new', 5, 0],
      ],
      { old: 8, new: 5 },
    ],
    [
      'ends with everything new',
      {},
      [
        ['old', 2],
        ['new', 10],
      ],
      { old: 0, new: 10 },
    ],
    ['scales a single set', { replicas: 4 }, [['new', 10]], { new: 4 }],
    ['does not begin a roll-out while paused', { paused: true }, [['old', 10]], { old: 10 }],
    [
      'moves one at a time without surge',
      { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 0, maxUnavailable: 1 } } },
      [
        ['old', 10],
        ['new', 0],
      ],
      { old: 9, new: 0 },
    ],
    ['takes all old pods away before it recreates', { strategy: { type: 'Recreate' } }, [['old', 10]], { old: 0 }],
  ];
  for (const [name, spec, sets, expected] of cases) {
    it(name, () => {
      const owner = deployment(spec);
      // Sets remember the size that they were scaled for; only the case about scaling differs in that.
      const before = deployment({ ...spec, ...('replicas' in spec && { replicas: 10 }) });
      expect(
        sizes(
          owner,
          sets.map(([image, size, available = size]) => set(before, image, { size, available })),
        ),
      ).to.deep.equal(expected);
    });
  }

  it('waits for old pods to end before it recreates', () => {
    const owner = deployment({ strategy: { type: 'Recreate' } });
    const pod: Pod = { metadata: { name: 'p', deletionTimestamp: 'now' }, status: { phase: 'Running' } };
    expect(sizes(owner, [set(owner, 'old', { size: 0 })], [pod])).to.deep.equal({ old: 0 });
    expect(sizes(owner, [set(owner, 'old', { size: 0 })])).to.deep.equal({ old: 0, new: 10 });
  });

  it('shares a change of size in proportion', () => {
    const before = deployment({});
    const after = deployment({ replicas: 20 });
    const result = sizes(after, [
      set(before, 'old', { size: 8, revision: 1 }),
      set(before, 'new', { size: 5, revision: 2 }),
    ]);
    expect(result['old'] ?? 0).to.be.within(15, 16);
    expect((result['old'] ?? 0) + (result['new'] ?? 0)).to.equal(25);
  });

  it('brings an old set back with a new revision and its history', () => {
    const owner = deployment({}, 'old');
    const plan = planRollout(
      owner,
      [set(owner, 'old', { size: 0, revision: 1 }), set(owner, 'new', { size: 10, revision: 2 })],
      () => [],
    );
    expect(plan.revision).to.equal(3n);
    expect(plan.refresh?.annotations).to.include({
      'deployment.kubernetes.io/revision': '3',
      'deployment.kubernetes.io/revision-history': '1',
    });
  });

  it('counts revisions exactly, however large they are', () => {
    const owner = deployment({});
    const plan = planRollout(
      owner,
      [set(owner, 'old', { size: 1, age: 1, revision: 3_546_343_826_724_305_832n })],
      () => [],
    );
    expect(plan.create?.metadata.annotations).to.include({
      'deployment.kubernetes.io/revision': '3546343826724305833',
    });
  });

  it('removes settled old sets beyond the history limit, oldest revisions first', () => {
    const owner = deployment({ revisionHistoryLimit: 1 });
    const sets = [1, 2, 3].map((revision) => set(owner, `old${revision}`, { size: 0, revision }));
    const plan = planRollout(owner, [...sets, set(owner, 'new', { size: 10, revision: 4 })], () => []);
    expect(plan.remove.map(({ metadata }) => metadata.uid)).to.deep.equal(['old1', 'old2']);
  });

  it('never breaks its limits on the way, whatever becomes available when', () => {
    const amount = fc.oneof(
      fc.integer({ min: 0, max: 5 }),
      fc.integer({ min: 0, max: 100 }).map((percent) => `${percent}%`),
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        amount,
        amount,
        fc.infiniteStream(fc.nat(12)),
        (replicas, maxSurge, maxUnavailable, chance) => {
          const owner = deployment({
            replicas,
            strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge, maxUnavailable } },
          });
          const limits = limitsOf(owner);
          const state: Record<string, { size: number; available: number }> = {
            old: { size: replicas, available: replicas },
          };
          for (let step = 0; step < 60; step++) {
            const sets = Object.entries(state).map(([image, { size, available }]) =>
              set(owner, image, { size, available }),
            );
            for (const [image, size] of Object.entries(sizes(owner, sets))) {
              const known = (state[image] ??= { size: 0, available: 0 });
              known.size = size;
              // A set that shrinks loses its unavailable pods first.
              known.available = Math.min(known.available, size);
            }
            const all = Object.values(state);
            const total = all.reduce((sum, { size }) => sum + size, 0);
            const available = all.reduce((sum, one) => sum + one.available, 0);
            expect(total).to.be.at.most(replicas + limits.maxSurge);
            expect(available).to.be.at.least(replicas - limits.maxUnavailable);
            const fresh = state['new'];
            if (fresh) fresh.available = Math.min(fresh.size, fresh.available + ((chance.next().value ?? 0) % 3));
          }
          if (state['new'])
            expect(state['old']?.size === 0 || state['new'].available < state['new'].size).to.equal(true);
        },
      ),
      { numRuns: 25 },
    );
  });
});

describe('controllers/deployment status', () => {
  it('tells of progress, completion and a passed deadline', () => {
    const owner = deployment({ progressDeadlineSeconds: 600 });
    const reason = (status: Deployment['status']): string | undefined =>
      status?.conditions?.find(({ type }) => type === 'Progressing')?.reason;
    const begun = deploymentStatus({
      deployment: owner,
      current: set(owner, 'new', { size: 10, available: 0 }),
      others: [],
      now,
      created: 'd-new',
    });
    expect(reason(begun)).to.equal('NewReplicaSetCreated');
    expect(begun.conditions?.find(({ type }) => type === 'Available')?.status).to.equal('False');
    const later = { ...owner, status: begun };
    const half = deploymentStatus({
      deployment: later,
      current: set(owner, 'new', { size: 10, available: 5 }),
      others: [],
      now: now + 1000,
    });
    expect(reason(half)).to.equal('ReplicaSetUpdated');
    const stuck = { ...owner, status: half };
    const timedOut = deploymentStatus({
      deployment: stuck,
      current: set(owner, 'new', { size: 10, available: 5 }),
      others: [],
      now: now + 700_000,
    });
    expect(reason(timedOut)).to.equal('ProgressDeadlineExceeded');
    const complete = deploymentStatus({
      deployment: stuck,
      current: set(owner, 'new', { size: 10 }),
      others: [],
      now: now + 2000,
    });
    expect(reason(complete)).to.equal('NewReplicaSetAvailable');
    expect(complete).not.to.have.property('unavailableReplicas');
  });
});
