// SPDX-License-Identifier: Apache-2.0
/** Who may do what: Pod Security levels, RBAC for a fresh service account, and tokens that are bound and expire. */
import { expect } from 'chai';
import { defineCase, done, pending, type CaseContext } from '../case.ts';
import { idleSpec } from '../pods.ts';

const area = 'security';

export const podSecurity = defineCase(
  {
    id: 'security.pod-security.restricted',
    area,
    title: 'Level restricted refuses pods that could reach the node',
    description:
      'In a namespace of level restricted, a privileged pod, one in the host’s network, one with a hostPath, one that may run as root and one with more capabilities MUST be refused with 403; an ordinary one MUST be accepted.',
    requirements: ['000 §17', '003 Security'],
    modes: ['quick'],
    needs: ['pod-security-admission'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const good = idleSpec(t);
    const container = good.containers[0];
    const context = container?.securityContext;
    const create = async (spec: object): Promise<number> => {
      const body = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'tried' }, spec: { ...good, ...spec } };
      const path = `/api/v1/namespaces/${namespace}/pods?dryRun=All`;
      return (await t.kube.request({ method: 'POST', path, body })).status;
    };
    const containers = (securityContext: object) => ({ containers: [{ ...container, securityContext }] });
    expect(await create({}), 'an ordinary pod').to.equal(201);
    const forbidden: Readonly<Record<string, object>> = {
      'a privileged pod': containers({ privileged: true }),
      'a pod in the host’s network': { hostNetwork: true },
      'a pod with a hostPath': { volumes: [{ name: 'root', hostPath: { path: '/' } }] },
      'a pod that may run as root': { securityContext: { seccompProfile: { type: 'RuntimeDefault' } } },
      'a pod with more capabilities': containers({ ...context, capabilities: { drop: ['ALL'], add: ['SYS_ADMIN'] } }),
    };
    for (const [what, spec] of Object.entries(forbidden)) expect(await create(spec), what).to.equal(403);
  },
);

export const freshAccount = defineCase(
  {
    id: 'security.rbac.fresh-service-account',
    area,
    title: 'A fresh service account may do nothing until it is told, and then only that',
    description:
      'A new ServiceAccount MUST NOT read Secrets, create pods or list nodes; a RoleBinding MUST give it exactly the Role’s rights in exactly that namespace.',
    requirements: ['000 §17', '003 Security'],
    modes: ['quick'],
  },
  async (t) => {
    const namespace = await t.namespace();
    const elsewhere = await t.namespace('other');
    await createAccount(t, namespace);
    const may = async (verb: string, resource: string, where?: string): Promise<boolean | undefined> => {
      const review = await t.kube.authorization.createSubjectAccessReview({
        body: {
          spec: {
            user: `system:serviceaccount:${namespace}:caller`,
            groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
            resourceAttributes: { verb, resource, ...(where !== undefined && { namespace: where }) },
          },
        },
      });
      return review.status?.allowed;
    };
    expect(await may('get', 'secrets', namespace), 'read Secrets').to.equal(false);
    expect(await may('create', 'pods', namespace), 'create pods').to.equal(false);
    expect(await may('list', 'nodes'), 'list nodes').to.equal(false);
    expect(await may('get', 'configmaps', namespace), 'read ConfigMaps before it is told').to.equal(false);
    await bindReader(t, namespace);
    await t.waitFor('the RoleBinding to be in force', async () =>
      (await may('get', 'configmaps', namespace)) === true ? done(undefined) : pending('not allowed yet'),
    );
    expect(await may('update', 'configmaps', namespace), 'change ConfigMaps').to.equal(false);
    expect(await may('get', 'configmaps', elsewhere), 'read ConfigMaps elsewhere').to.equal(false);
    expect(await may('get', 'secrets', namespace), 'read Secrets afterwards').to.equal(false);
  },
);

export const tokens = defineCase(
  {
    id: 'security.service-account.token',
    area,
    title: 'A service account’s token is bound to its account, its audience and a time',
    description:
      'A requested token MUST expire when asked to and be accepted as its account; it MUST NOT be accepted for another audience, after a change, or once the account is gone.',
    requirements: ['000 §17', '003 Security'],
    modes: ['full'],
  },
  async (t) => {
    const namespace = await t.namespace();
    await createAccount(t, namespace);
    const request = async (audiences: string[]) => {
      const body = { spec: { audiences, expirationSeconds: 900 } };
      const { status } = await t.kube.core.createNamespacedServiceAccountToken({ name: 'caller', namespace, body });
      return { token: status?.token ?? '', expires: new Date(String(status?.expirationTimestamp)).getTime() };
    };
    const review = async (token: string, audiences?: string[]) =>
      (
        await t.kube.authentication.createTokenReview({
          body: { spec: { token, ...(audiences !== undefined && { audiences }) } },
        })
      ).status;
    const { token, expires } = await request([]);
    const payload = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as {
      iat: number;
      exp: number;
    };
    expect(payload.exp - payload.iat, 'seconds of life in the token').to.be.within(600, 1_000);
    expect(expires, 'expirationTimestamp').to.equal(payload.exp * 1_000);
    const good = await review(token);
    expect(good?.authenticated, 'the token is accepted').to.equal(true);
    expect(good?.user?.username).to.equal(`system:serviceaccount:${namespace}:caller`);
    expect((await review(`${token.slice(0, -8)}AAAAAAAA`))?.authenticated ?? false, 'a changed token').to.equal(false);
    const foreign = await request(['somebody-else']);
    expect((await review(foreign.token))?.authenticated ?? false, 'a token for another audience').to.equal(false);
    expect((await review(foreign.token, ['somebody-else']))?.authenticated, 'for its own audience').to.equal(true);
    await t.kube.core.deleteNamespacedServiceAccount({ name: 'caller', namespace });
    await t.waitFor('the token of a deleted account to be refused', async () =>
      (await review(token))?.authenticated === true ? pending('still accepted') : done(undefined),
    );
  },
);

export const fromPod = defineCase(
  {
    id: 'security.service-account.from-pod',
    area,
    title: 'A pod reaches the API with its own token, and no further than its rights',
    description:
      'With the mounted token and CA a pod MUST be answered by the API server: 403 for Secrets, 200 for what a RoleBinding allows, 401 with a token that nobody issued.',
    requirements: ['000 §17', '001 §7'],
    modes: ['quick'],
  },
  async (t) => {
    const namespace = await t.namespace();
    await createAccount(t, namespace);
    const spec = { serviceAccountName: 'caller', automountServiceAccountToken: true };
    const pod = await t.probes.pod({ namespace, name: 'caller', spec });
    const ask = async (resource: string, token: string): Promise<string> => {
      const { stdout, stderr } = await pod.exec(['/usr/bin/node', '-e', askScript, namespace, resource, token]);
      return `${stdout.toString().trim()}${stderr.trim()}`;
    };
    await t.waitFor('the API server to answer the pod', async () => {
      const status = await ask('secrets', '');
      return status === '403' ? done(undefined) : pending(status);
    });
    expect(await ask('configmaps', 'bm90LWEtdG9rZW4'), 'with a token that nobody issued').to.equal('401');
    await bindReader(t, namespace);
    await t.waitFor('the RoleBinding to be in force', async () => {
      const status = await ask('configmaps', '');
      return status === '200' ? done(undefined) : pending(status);
    });
    expect(await ask('secrets', ''), 'Secrets afterwards').to.equal('403');
  },
);

/** Prints the status of a GET of the collection, by the pod's own credentials or by the given token. */
const askScript = `
const { readFileSync } = require('node:fs');
const [namespace, resource, token] = process.argv.slice(1);
const mounted = '/var/run/secrets/kubernetes.io/serviceaccount/';
const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = process.env;
require('node:https').get({
  host, port, path: '/api/v1/namespaces/' + namespace + '/' + resource, timeout: 5000,
  ca: readFileSync(mounted + 'ca.crt'),
  headers: { authorization: 'Bearer ' + (token || readFileSync(mounted + 'token', 'utf8')) },
}, (response) => { console.log(response.statusCode); process.exit(); }).on('error', (error) => console.log(error.message));
`;

async function createAccount(t: CaseContext, namespace: string): Promise<void> {
  await t.kube.core.createNamespacedServiceAccount({ namespace, body: { metadata: { name: 'caller' } } });
}

/** Lets the account `caller` read ConfigMaps of the namespace. */
async function bindReader(t: CaseContext, namespace: string): Promise<void> {
  const metadata = { name: 'reader' };
  const rules = [{ apiGroups: [''], resources: ['configmaps'], verbs: ['get', 'list'] }];
  await t.kube.rbac.createNamespacedRole({ namespace, body: { metadata, rules } });
  await t.kube.rbac.createNamespacedRoleBinding({
    namespace,
    body: {
      metadata,
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'reader' },
      subjects: [{ kind: 'ServiceAccount', name: 'caller', namespace }],
    },
  });
}
