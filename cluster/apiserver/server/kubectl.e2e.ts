// SPDX-License-Identifier: Apache-2.0
// Drives a real etcd and API server with real kubectl binaries: what people do every day has to work with each of them.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { findKubectl } from '../../boot/kubectl-binaries.ts';
import type { ControlPlane } from './e2e-control-plane.ts';
import { startControlPlane } from './e2e-control-plane.ts';

const versions = ['1.29', '1.32'];

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

describe('kubectl against the API server', function () {
  this.timeout(60_000);
  let plane: ControlPlane;

  before(async () => {
    plane = await startControlPlane();
  });
  after(() => plane?.stop());

  for (const version of versions) {
    describe(`kubectl ${version}`, () => {
      const namespace = `v${version.replace('.', '-')}`;
      let binary: string;

      before(async function () {
        const found = findKubectl(version);
        if (found === undefined) {
          this.skip();
        }
        binary = found;
        await succeed(['create', 'namespace', namespace]);
      });

      async function kubectl(
        args: readonly string[],
        options: { input?: string; editor?: string } = {},
      ): Promise<Result> {
        const child = promisify(execFile)(binary, ['-n', namespace, ...args], {
          env: {
            ...process.env,
            KUBECONFIG: plane.kubeconfig,
            HOME: plane.directory,
            ...(options.editor === undefined ? {} : { EDITOR: options.editor }),
          },
        });
        child.child.stdin?.end(options.input ?? '');
        return child.then(
          ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
          (error: { code: number; stdout: string; stderr: string }) => error,
        );
      }

      async function succeed(
        args: readonly string[],
        options: { input?: string; editor?: string } = {},
      ): Promise<string> {
        const result = await kubectl(args, options);
        expect(result.code, `kubectl ${args.join(' ')}: ${result.stderr}`).to.equal(0);
        return result.stdout;
      }

      async function fail(args: readonly string[], options: { input?: string } = {}): Promise<string> {
        const result = await kubectl(args, options);
        expect(result.code, `kubectl ${args.join(' ')} should fail, said: ${result.stdout}`).to.not.equal(0);
        return result.stderr;
      }

      it('finds its way: api-resources, api-versions, explain, version', async () => {
        expect(await succeed(['api-resources'])).to.match(/^deployments +deploy +apps\/v1 +true +Deployment$/m);
        expect(await succeed(['api-versions'])).to.match(/^rbac\.authorization\.k8s\.io\/v1$/m);
        expect(await succeed(['explain', 'deployment.spec.replicas'])).to.contain('FIELD: replicas <integer>');
        expect(await succeed(['version'])).to.contain('Server Version: v1.36.0');
      });

      it('creates, gets, describes, labels and deletes', async () => {
        await succeed(['create', 'configmap', 'plain', '--from-literal=a=1']);
        expect(await fail(['create', 'configmap', 'plain'])).to.contain('configmaps "plain" already exists');
        expect(await succeed(['get', 'configmap', 'plain'])).to.match(/^NAME +DATA +AGE\nplain +1 +\d+s\n$/);
        expect(await succeed(['describe', 'configmap', 'plain'])).to.contain('Name:         plain');
        await succeed(['label', 'configmap', 'plain', 'tier=back']);
        await succeed(['annotate', 'configmap', 'plain', 'note=x']);
        expect(await succeed(['get', 'configmaps', '-l', 'tier in (back)', '-o', 'name'])).to.equal(
          'configmap/plain\n',
        );
        expect(await succeed(['get', 'configmaps', '--field-selector', 'metadata.name=other', '-o', 'name'])).to.equal(
          '',
        );
        await succeed(['delete', 'configmap', 'plain']);
        expect(await fail(['get', 'configmap', 'plain'])).to.equal(
          'Error from server (NotFound): configmaps "plain" not found\n',
        );
      });

      it('applies on the client, shows the difference, prunes what has gone', async () => {
        const manifest = (data: string) =>
          `---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: applied}, data: {${data}}}`;
        const apply = (data: string) => succeed(['apply', '-f', '-'], { input: manifest(data) });
        expect(await apply('a: "1", b: "2"')).to.equal('configmap/applied created\n');
        expect(await apply('a: "1", b: "2"')).to.equal('configmap/applied unchanged\n');
        const difference = await kubectl(['diff', '-f', '-'], { input: manifest('a: "3"') });
        expect(difference.code).to.equal(1);
        expect(difference.stdout).to.contain('-  b: "2"').and.contain('+  a: "3"');
        expect(await apply('a: "3"')).to.equal('configmap/applied configured\n');
        expect(await succeed(['get', 'configmap', 'applied', '-o', 'jsonpath={.data}'])).to.equal('{"a":"3"}');
      });

      it('applies on the server and guards the fields of others', async () => {
        const input = '---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: server}, data: {a: "1"}}';
        expect(await succeed(['apply', '--server-side', '-f', '-'], { input })).to.contain('serverside-applied');
        await succeed(['patch', 'configmap', 'server', '-p', '{"data":{"a":"2"}}']);
        expect(await fail(['apply', '--server-side', '-f', '-'], { input })).to.contain(
          'Apply failed with 1 conflict: conflict with "kubectl-patch" using v1: .data.a',
        );
        await succeed(['apply', '--server-side', '--force-conflicts', '-f', '-'], { input });
        expect(await succeed(['get', 'configmap', 'server', '-o', 'jsonpath={.data.a}'])).to.equal('1');
      });

      it('scales, sets, patches and edits a Deployment', async () => {
        await succeed(['create', 'deployment', 'web', '--image=web:1', '--replicas=2']);
        await succeed(['scale', 'deployment', 'web', '--replicas=4']);
        await succeed(['set', 'image', 'deployment/web', 'web=web:2']);
        await succeed(['set', 'env', 'deployment/web', 'A=b']);
        await succeed([
          'patch',
          'deployment',
          'web',
          '--type=json',
          '-p',
          '[{"op":"add","path":"/spec/paused","value":true}]',
        ]);
        await succeed(['edit', 'deployment', 'web'], { editor: "sed -i 's/replicas: 4/replicas: 7/'" });
        const shown =
          '{.spec.replicas} {.spec.template.spec.containers[0].image} {.spec.paused} {.metadata.generation}';
        expect(await succeed(['get', 'deployment', 'web', '-o', `jsonpath=${shown}`])).to.equal('7 web:2 true 6');
        await succeed(['expose', 'deployment', 'web', '--port=80']);
        expect(await succeed(['get', 'service', 'web', '-o', 'jsonpath={.spec.clusterIP}'])).to.match(/^10\.96\./);
        await succeed(['delete', 'deployment,service', 'web']);
      });

      it('runs a pod, waits for it, and deletes it with grace', async () => {
        await succeed(['create', 'serviceaccount', 'default']);
        await succeed(['run', 'one', '--image=one:1', '--labels=a=b']);
        expect(await succeed(['get', 'pods', '-o', 'wide'])).to.match(/^one +0\/1 +Pending +0 /m);
        const waiting = kubectl(['wait', '--for=condition=Ready', 'pod/one', '--timeout=20s']);
        const ready = '{"status":{"conditions":[{"type":"Ready","status":"True"}]}}';
        await succeed(['patch', 'pod', 'one', '--subresource=status', '-p', ready]);
        expect((await waiting).stdout).to.contain('pod/one condition met');
        await succeed(['delete', 'pod', 'one', '--grace-period=0', '--force']);
        expect(await fail(['get', 'pod', 'one'])).to.contain('pods "one" not found');
      });

      it('says what is wrong with an object', async () => {
        const pod = '---\n{apiVersion: v1, kind: Pod, metadata: {name: bad}, spec: {containers: []}}';
        expect(await fail(['create', '-f', '-'], { input: pod })).to.contain(
          'The Pod "bad" is invalid: spec.containers: Required value',
        );
        const unknown = '---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: bad}, datas: {}}';
        expect(await fail(['create', '-f', '-'], { input: unknown })).to.contain('unknown field "datas"');
        expect(
          await succeed(['create', '--dry-run=server', '-f', '-', '-o', 'name'], {
            input: '---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: dry}}',
          }),
        ).to.equal('configmap/dry\n');
        expect(await fail(['get', 'configmap', 'dry'])).to.contain('not found');
      });

      it('answers questions about rights', async () => {
        expect(await fail(['get', 'pods', '--as=joe'])).to.equal(
          `Error from server (Forbidden): pods is forbidden: User "joe" cannot list resource "pods" in API group "" in the namespace "${namespace}"\n`,
        );
        await succeed(['create', 'rolebinding', 'joe', '--clusterrole=view', '--user=joe']);
        expect(await succeed(['auth', 'can-i', 'list', 'pods', '--as=joe'])).to.equal('yes\n');
        expect((await kubectl(['auth', 'can-i', 'create', 'pods', '--as=joe'])).stdout).to.equal('no\n');
        expect(await succeed(['create', 'token', 'default'])).to.match(/^[\w-]+\.[\w-]+\.[\w-]+\n?$/);
      });

      it('serves a custom resource from its definition', async () => {
        const input = JSON.stringify(widgetDefinition(namespace));
        await succeed(['create', '-f', '-'], { input });
        await succeed(['wait', '--for=condition=Established', `crd/widgets.${namespace}.example.com`]);
        const widget = `---\n{apiVersion: ${namespace}.example.com/v1, kind: Widget, metadata: {name: w}, spec: {size: 3}}`;
        await succeed(['create', '-f', '-'], { input: widget });
        expect(await succeed(['get', 'widgets'])).to.match(/^NAME +SIZE +AGE\nw +3 /);
        expect(
          await fail(['create', '-f', '-'], {
            input: widget.replace('size: 3', 'size: x').replace('name: w', 'name: x'),
          }),
        ).to.contain('spec.size');
        await succeed(['delete', 'crd', `widgets.${namespace}.example.com`]);
        expect(await fail(['get', 'widgets'])).to.match(
          /doesn't have a resource type|could not find the requested resource/,
        );
      });
    });
  }
});

function widgetDefinition(label: string): object {
  const schema = {
    type: 'object',
    properties: { spec: { type: 'object', properties: { size: { type: 'integer' } } } },
  };
  const columns = [
    { name: 'Size', type: 'integer', jsonPath: '.spec.size' },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
  ];
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `widgets.${label}.example.com` },
    spec: {
      group: `${label}.example.com`,
      scope: 'Namespaced',
      names: { plural: 'widgets', singular: 'widget', kind: 'Widget', listKind: 'WidgetList' },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: true,
          schema: { openAPIV3Schema: schema },
          additionalPrinterColumns: columns,
        },
      ],
    },
  };
}

/** `kubectl.1.29` on the PATH or beside kubectl; the plain one when it is of that version. */
