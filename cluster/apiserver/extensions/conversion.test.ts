// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';

import { createAuthority, issue } from '../../boot/certificates.ts';
import type { KubeObject, Registry } from '../resources/definition.ts';
import { converting, type Convert } from './conversion.ts';
import { definitionFromCrd } from './custom-resource.ts';
import { webhookConversion } from './conversion.ts';

interface Review {
  readonly request: { uid: string; desiredAPIVersion: string; objects: KubeObject[] };
}

describe('conversion of custom resources by a webhook', function () {
  this.timeout(20_000);
  let server: Server;
  let clientConfig: { url: string; caBundle: string };
  let reviews: Review[];
  /** What the webhook makes of an object. */
  let answer: (object: KubeObject, apiVersion: string) => KubeObject;
  let status: string;

  before(async () => {
    const authority = await createAuthority('webhook-ca');
    const { certificate, key } = await issue(authority, {
      commonName: 'hook',
      hosts: ['127.0.0.1'],
      usages: ['server'],
    });
    server = createServer({ cert: certificate, key }, async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const review = JSON.parse(Buffer.concat(chunks).toString()) as Review;
      reviews.push(review);
      const { uid, objects, desiredAPIVersion } = review.request;
      const convertedObjects = objects.map((object) => answer(object, desiredAPIVersion));
      response.end(JSON.stringify({ response: { uid, convertedObjects, result: { status, message: 'why not' } } }));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const caBundle = Buffer.from(authority.certificate).toString('base64');
    clientConfig = { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}/convert`, caBundle };
  });

  after(() => void server.close());

  beforeEach(() => {
    reviews = [];
    status = 'Success';
    answer = (object, apiVersion) => {
      const { host, port, hostPort, ...rest } = object;
      if (apiVersion === 'example.com/v2') {
        const [name, number] = String(hostPort).split(':');
        return { ...(rest as KubeObject), apiVersion, host: name, port: number };
      }
      return { ...(rest as KubeObject), apiVersion, hostPort: `${String(host)}:${String(port)}` };
    };
  });

  const newConvert = (): Convert =>
    webhookConversion('Server', { clientConfig, conversionReviewVersions: ['v1'] }, {} as Registry);
  const v1 = (name: string): KubeObject => ({
    apiVersion: 'example.com/v1',
    kind: 'Server',
    metadata: { name, uid: name, labels: { kept: 'yes' } },
    hostPort: `${name}:80`,
  });

  it('asks once for a whole list, leaves out what has the version already, and remembers', async () => {
    const convert = newConvert();
    const v2: KubeObject = {
      apiVersion: 'example.com/v2',
      kind: 'Server',
      metadata: { name: 'c' },
      host: 'c',
      port: '1',
    };
    const all = [v1('a'), v1('b'), v2];
    const list = (): KubeObject[] => all.map((object) => convert(object, 'example.com/v2'));
    const converted = await converting(list, () => all);
    expect(converted.map(({ host, port }) => [host, port])).to.deep.equal([
      ['a', '80'],
      ['b', '80'],
      ['c', '1'],
    ]);
    expect(reviews.map(({ request }) => request.objects.length)).to.deep.equal([2]);
    list();
    expect(reviews).to.have.length(1);
  });

  it('takes labels and annotations from the webhook, the rest of the metadata from the object', async () => {
    const plain = answer;
    answer = (object, apiVersion) => ({
      ...plain(object, apiVersion),
      metadata: { ...object.metadata, uid: 'forged', labels: { new: 'label' } },
    });
    const convert = newConvert();
    const { metadata } = await converting(() => convert(v1('a'), 'example.com/v2'));
    expect(metadata).to.deep.equal({ name: 'a', uid: 'a', labels: { new: 'label' } });
  });

  it('says which conversion failed and why', async () => {
    const failure = (): Promise<string> => {
      const convert = newConvert();
      return converting(() => convert(v1('a'), 'example.com/v2')).then(
        () => 'none',
        (error: Error) => error.message,
      );
    };
    status = 'Failed';
    expect(await failure()).to.equal('conversion webhook for example.com/v1, Kind=Server failed: why not');
    status = 'Success';
    answer = (object) => object;
    expect(await failure()).to.include('converted object 0 is example.com/v1, not example.com/v2');
    answer = (object, apiVersion) => ({ ...object, apiVersion, metadata: { name: 'other' } });
    expect(await failure()).to.include('converted object 0 is another object');
  });

  it('serves and stores every version through it', async () => {
    const anything = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
    const crd = {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: 'servers.example.com' },
      spec: {
        group: 'example.com',
        scope: 'Cluster',
        names: { plural: 'servers', singular: 'server', kind: 'Server', listKind: 'ServerList' },
        versions: [
          { name: 'v1', served: true, storage: true, schema: anything },
          { name: 'v2', served: true, storage: false, schema: anything },
        ],
        conversion: { strategy: 'Webhook', webhook: { clientConfig, conversionReviewVersions: ['v1'] } },
      },
    };
    const [definition] = definitionFromCrd(crd as unknown as KubeObject, {} as Registry);
    const second = definition?.versions.find(({ version }) => version === 'v2');
    const shown = await converting(() => second?.fromStorage?.(v1('a')));
    expect(shown).to.include({ apiVersion: 'example.com/v2', host: 'a', port: '80' });
    const stored = await converting(() => second?.toStorage?.(shown as KubeObject));
    expect(stored).to.deep.equal(v1('a'));
  });
});
