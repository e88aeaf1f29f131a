// SPDX-License-Identifier: Apache-2.0
/** What every client counts on: watches, conflicts, patches, apply, finalizers, owners and selectors. */
import { expect } from 'chai';
import type { V1ConfigMap } from '@kubernetes/client-node';
import { defineCase, done, pending, type CaseContext } from '../case.ts';

const area = 'api';

export const watchSeesAll = defineCase(
  {
    id: 'api.watch.sees-every-change',
    area,
    title: 'A watch from a list’s version sees every change in order',
    description:
      'After a list, a watch from its resourceVersion MUST deliver each later change of a matching object exactly once and in order, and none of other objects.',
    requirements: ['000 §1', '002 API server'],
    modes: ['quick'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const list = await t.kube.core.listNamespacedConfigMap({ namespace });
    const stop = new AbortController();
    t.onTeardown(async () => stop.abort());
    const seen: string[] = [];
    const watching = (async () => {
      const path = `/api/v1/namespaces/${namespace}/configmaps`;
      const query = { resourceVersion: list.metadata?.resourceVersion ?? '', labelSelector: 'watched=yes' };
      for await (const { type, object } of t.kube.watch<V1ConfigMap>(path, { query, signal: stop.signal })) {
        if (type !== 'BOOKMARK') seen.push(`${type} ${object.metadata?.name} ${object.data?.['n'] ?? ''}`.trim());
      }
    })();
    const put = (name: string, n: string, labels: Record<string, string>) => ({
      metadata: { name, labels },
      data: { n },
    });
    await t.kube.core.createNamespacedConfigMap({ namespace, body: put('one', '0', { watched: 'yes' }) });
    await t.kube.core.createNamespacedConfigMap({ namespace, body: put('other', '0', {}) });
    for (const n of ['1', '2', '3']) {
      await t.kube.core.replaceNamespacedConfigMap({ name: 'one', namespace, body: put('one', n, { watched: 'yes' }) });
    }
    // An object that stops matching leaves the watch as if it were deleted.
    await t.kube.core.replaceNamespacedConfigMap({ name: 'one', namespace, body: put('one', '4', {}) });
    const expected = ['ADDED one 0', 'MODIFIED one 1', 'MODIFIED one 2', 'MODIFIED one 3', 'DELETED one'];
    await t.waitFor('all five events', async () => (seen.length >= 5 ? done(undefined) : pending(seen.join('; '))), {
      timeoutMs: 20_000,
    });
    stop.abort();
    await watching;
    // Which state a leaving object is shown in is not promised.
    expect(seen.map((line) => line.replace(/^(DELETED one) .*/, '$1'))).to.deep.equal(expected);
  },
);

export const conflict = defineCase(
  {
    id: 'api.update.conflict',
    area,
    title: 'An update from an old version is refused with 409',
    description:
      'Of two updates from the same resourceVersion the second MUST be refused with reason Conflict and change nothing.',
    requirements: ['000 §1', '002 API server'],
    modes: ['quick'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const first = await t.kube.core.createNamespacedConfigMap({
      namespace,
      body: { metadata: { name: 'shared' }, data: { by: 'nobody' } },
    });
    const write = (by: string) =>
      t.kube.request({
        method: 'PUT',
        path: `/api/v1/namespaces/${namespace}/configmaps/shared`,
        body: { ...first, apiVersion: 'v1', kind: 'ConfigMap', data: { by } },
      });
    expect((await write('winner')).status).to.equal(200);
    const late = await write('loser');
    expect(late.status).to.equal(409);
    expect(late.json()).to.include({ kind: 'Status', reason: 'Conflict', code: 409 });
    expect((await t.kube.core.readNamespacedConfigMap({ name: 'shared', namespace })).data).to.deep.equal({
      by: 'winner',
    });
  },
);

export const serverSideApply = defineCase(
  {
    id: 'api.apply.field-ownership',
    area,
    title: 'Server-side apply keeps owners apart: conflict, force, and removal of what is no longer applied',
    description:
      'Applying a field that another manager owns MUST conflict and name the manager; force MUST take it over; a field that its only owner leaves out MUST go.',
    requirements: ['002 API server'],
    modes: ['quick'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const apply = (manager: string, data: Record<string, string>, force = false) =>
      t.kube.request({
        method: 'PATCH',
        path: `/api/v1/namespaces/${namespace}/configmaps/owned?fieldManager=${manager}&force=${force}`,
        headers: { 'Content-Type': 'application/apply-patch+yaml' },
        body: JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'owned' }, data }),
      });
    expect((await apply('one', { a: '1', b: '1' })).status, 'apply that creates').to.equal(201);
    expect((await apply('two', { c: '2' })).status, 'apply of another field').to.equal(200);
    const refused = await apply('two', { a: '2', c: '2' });
    expect(refused.status).to.equal(409);
    expect(JSON.stringify(refused.json())).to.contain('conflict with \\"one\\"').and.to.contain('.data.a');
    expect((await apply('two', { a: '2', c: '2' }, true)).status, 'forced apply').to.equal(200);
    expect((await apply('one', {})).status, 'apply without the fields').to.equal(200);
    const { data } = await t.kube.core.readNamespacedConfigMap({ name: 'owned', namespace });
    expect(data).to.deep.equal({ a: '2', c: '2' });
  },
);

export const finalizers = defineCase(
  {
    id: 'api.delete.finalizers',
    area,
    title: 'An object with a finalizer stays until the finalizer is removed',
    description:
      'Deleting MUST set deletionTimestamp and keep the object; removing the last finalizer MUST make it go.',
    requirements: ['000 §1'],
    modes: ['quick'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const where = { name: 'held', namespace };
    await t.kube.core.createNamespacedConfigMap({
      namespace,
      body: { metadata: { name: 'held', finalizers: ['plumbline.io/hold'] } },
    });
    const release = () =>
      t.kube.request({
        method: 'PATCH',
        path: `/api/v1/namespaces/${namespace}/configmaps/held`,
        headers: { 'Content-Type': 'application/merge-patch+json' },
        body: { metadata: { finalizers: null } },
      });
    t.onTeardown(async () => void (await release()));
    await t.kube.core.deleteNamespacedConfigMap(where);
    const held = await t.kube.core.readNamespacedConfigMap(where);
    expect(held.metadata?.deletionTimestamp, 'deletionTimestamp').to.not.equal(undefined);
    expect((await release()).status).to.equal(200);
    await gone(t, namespace, 'held');
  },
);

export const garbageCollection = defineCase(
  {
    id: 'api.delete.owner-references',
    area,
    title: 'Dependants go with their owner, unless they are orphaned',
    description:
      'Deleting an owner MUST delete what names it in ownerReferences; with propagationPolicy Orphan dependants MUST stay and lose the reference.',
    requirements: ['000 §8', '001 §2'],
    modes: ['quick'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const create = (name: string, owner?: V1ConfigMap) =>
      t.kube.core.createNamespacedConfigMap({
        namespace,
        body: {
          metadata: {
            name,
            ...(owner?.metadata !== undefined && {
              ownerReferences: [
                { apiVersion: 'v1', kind: 'ConfigMap', name: owner.metadata.name ?? '', uid: owner.metadata.uid ?? '' },
              ],
            }),
          },
        },
      });
    const owner = await create('owner');
    const keeper = await create('keeper');
    await create('dependant', owner);
    await create('orphan', keeper);
    await t.kube.core.deleteNamespacedConfigMap({ name: 'owner', namespace, propagationPolicy: 'Background' });
    await t.kube.core.deleteNamespacedConfigMap({ name: 'keeper', namespace, propagationPolicy: 'Orphan' });
    await gone(t, namespace, 'dependant');
    await gone(t, namespace, 'keeper');
    const orphan = await t.kube.core.readNamespacedConfigMap({ name: 'orphan', namespace });
    expect(orphan.metadata?.ownerReferences ?? []).to.deep.equal([]);
  },
);

export const lists = defineCase(
  {
    id: 'api.list.chunks-and-selectors',
    area,
    title: 'A list comes in chunks of one version, and selectors choose by label and field',
    description:
      'Following continue tokens MUST give every object once and one resourceVersion throughout; label and field selectors MUST be honoured.',
    requirements: ['000 §1', '003 API'],
    modes: ['full'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const names = Array.from({ length: 7 }, (_unused, index) => `map-${index}`);
    for (const [index, name] of names.entries()) {
      const labels = { parity: index % 2 === 0 ? 'even' : 'odd' };
      await t.kube.core.createNamespacedConfigMap({ namespace, body: { metadata: { name, labels } } });
    }
    const found: string[] = [];
    const versions = new Set<string | undefined>();
    let next: string | undefined;
    do {
      const page = await t.kube.core.listNamespacedConfigMap({
        namespace,
        limit: 3,
        labelSelector: 'parity',
        ...(next !== undefined && { _continue: next }),
      });
      found.push(...page.items.map(({ metadata }) => metadata?.name ?? ''));
      versions.add(page.metadata?.resourceVersion);
      next = page.metadata?._continue;
    } while (next !== undefined && next !== '');
    expect(found).to.deep.equal(names);
    expect(versions.size, 'resourceVersions of the chunks').to.equal(1);
    const count = async (labelSelector: string) =>
      (await t.kube.core.listNamespacedConfigMap({ namespace, labelSelector })).items.length;
    expect(await count('parity in (even, none)')).to.equal(4);
    expect(await count('parity!=even,parity')).to.equal(3);
    const byField = await t.kube.core.listNamespacedConfigMap({ namespace, fieldSelector: 'metadata.name=map-3' });
    expect(byField.items.map(({ metadata }) => metadata?.name)).to.deep.equal(['map-3']);
  },
);

export const strictness = defineCase(
  {
    id: 'api.validation.errors',
    area,
    title: 'Wrong objects are refused with the field, and unknown fields on request',
    description:
      'An invalid pod MUST be refused with 422 and a cause for the field; fieldValidation Strict MUST refuse an unknown field by name; dryRun MUST keep nothing.',
    requirements: ['000 §1', '003 API'],
    modes: ['full'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const post = (query: string, body: object) =>
      t.kube.request({ method: 'POST', path: `/api/v1/namespaces/${namespace}/configmaps${query}`, body });
    const bad = await t.kube.request({
      method: 'POST',
      path: `/api/v1/namespaces/${namespace}/pods`,
      body: { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'Bad_Name' }, spec: { containers: [] } },
    });
    expect(bad.status).to.equal(422);
    const fields = ((bad.json() as { details?: { causes?: { field: string }[] } }).details?.causes ?? []).map(
      ({ field }) => field,
    );
    expect(fields).to.include.members(['metadata.name', 'spec.containers']);
    const map = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'strict' }, dta: { a: 'b' } };
    const strict = await post('?fieldValidation=Strict', map);
    expect(strict.status).to.equal(400);
    expect(JSON.stringify(strict.json())).to.contain('unknown field').and.to.contain('dta');
    expect((await post('?dryRun=All', { ...map, dta: undefined })).status).to.equal(201);
    expect(
      (await t.kube.core.listNamespacedConfigMap({ namespace, fieldSelector: 'metadata.name=strict' })).items,
    ).to.have.length(0);
  },
);

export const customResources = defineCase(
  {
    id: 'api.custom-resources',
    area,
    title: 'A CustomResourceDefinition adds a kind with schema, defaults, status and columns',
    description:
      'Objects of the new kind MUST be validated, pruned and defaulted by the schema, listed, and gone with the definition.',
    requirements: ['000 §18', '002 API server'],
    modes: ['full'],
    timeoutMs: 60_000,
  },
  async (t) => {
    const namespace = await t.namespace();
    const group = `r${t.runId
      .toLowerCase()
      .replace(/[^a-z0-9]/g, '')
      .slice(-12)}.plumbline.io`;
    await t.apply({ fixture: 'api/custom-resource-definition', values: { group } });
    const collection = `/apis/${group}/v1/namespaces/${namespace}/plumbs`;
    await t.waitFor('the new kind to be served', async () => {
      const { status } = await t.kube.request({ path: collection });
      return status === 200 ? done(undefined) : pending(`status ${status}`);
    });
    const create = (name: string, spec: object) =>
      t.kube.request({
        method: 'POST',
        path: collection,
        body: { apiVersion: `${group}/v1`, kind: 'Plumb', metadata: { name }, spec },
      });
    const refused = await create('wrong', { depth: 0 });
    expect(refused.status).to.equal(422);
    expect(JSON.stringify(refused.json())).to.contain('spec.depth');
    const made = await create('right', { depth: 3, unknown: 'pruned' });
    expect(made.status).to.equal(201);
    expect((made.json() as { spec: unknown }).spec).to.deep.equal({ depth: 3, material: 'lead' });
    const table = await t.kube.request({
      path: collection,
      headers: { Accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' },
    });
    const columns = (table.json() as { columnDefinitions: { name: string }[] }).columnDefinitions.map(
      ({ name }) => name,
    );
    expect(columns).to.deep.equal(['Name', 'Depth', 'Age']);
    await t.kube.apiextensions.deleteCustomResourceDefinition({ name: `plumbs.${group}` });
    await t.waitFor(
      'the kind to be gone with its definition',
      async () => {
        const { status } = await t.kube.request({ path: `${collection}/right` });
        return status === 404 ? done(undefined) : pending(`status ${status}`);
      },
      { timeoutMs: 20_000 },
    );
  },
);

function gone(t: CaseContext, namespace: string, name: string): Promise<void> {
  return t.kube.waitForObject(
    { apiVersion: 'v1', kind: 'ConfigMap', name, namespace },
    (object) => (object === undefined ? done(undefined) : pending('it is still there')),
    { description: `ConfigMap ${name} to be gone`, timeoutMs: 45_000, signal: t.signal },
  );
}
