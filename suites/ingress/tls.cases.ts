// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import type { ProbePod } from '../../probes/agent/prober.ts';
import { defineCase, done, pending } from '../case.ts';
import { addressOf, answeredBy, backend, createIngress, startSite } from './fixture.ts';
import { selfSigned } from './certificates.ts';

export const tls = defineCase(
  {
    id: 'ingress.tls',
    area: 'ingress',
    title: 'An Ingress ends TLS with the certificate of the name that is asked for',
    description:
      'With two Secrets for two hosts, a client that names a host in its TLS greeting MUST be shown that host’s certificate and reach its Service; one that names another host MUST be shown neither. A Secret that is replaced MUST be shown anew.',
    requirements: ['003 Ingress'],
    modes: ['network'],
    needs: ['ingress-controller'],
  },
  async (t) => {
    const site = await startSite(t, ['one', 'two']);
    const { namespace, client } = site;
    const hosts = ['one', 'two'].map((name) => `${name}.${site.domain}`);
    for (const [index, name] of ['one', 'two'].entries()) {
      const pair = await selfSigned(hosts[index] ?? '', 'first');
      const body = { metadata: { name }, type: 'kubernetes.io/tls', stringData: pair };
      await t.kube.core.createNamespacedSecret({ namespace, body });
    }
    await createIngress(t, site, {
      tls: ['one', 'two'].map((name, index) => ({ hosts: [hosts[index] ?? ''], secretName: name })),
      rules: ['one', 'two'].map((name, index) => ({
        host: hosts[index] ?? '',
        http: { paths: [{ path: '/', pathType: 'Prefix', backend: backend(name) }] },
      })),
    });
    const address = await addressOf(t, site);
    await answeredBy(t, site, { address, host: hosts[0] ?? '', by: 'one' }).catch(() => undefined);
    const shows = async (host: string, subject: string): Promise<string> =>
      t.waitFor(`${host} to be shown the certificate "${subject}"`, async () => {
        const { shown, body } = await greet(client, address, host);
        return shown.includes(subject) ? done(body) : pending(`it is "${shown}"`);
      });
    for (const [index, name] of ['one', 'two'].entries()) {
      const body = await shows(hosts[index] ?? '', `CN=${hosts[index]}`);
      expect(body, `the answer over TLS to ${hosts[index]}`).to.contain(`"hostname":"${name}"`);
    }
    const { shown } = await greet(client, address, `other.${site.domain}`);
    for (const host of hosts) expect(shown, 'the certificate for a host without one').to.not.contain(host);
    const renewed = await selfSigned(hosts[0] ?? '', 'second');
    await t.kube.core.patchNamespacedSecret({
      name: 'one',
      namespace,
      body: Object.entries(renewed).map(([key, value]) => ({
        op: 'replace',
        path: `/data/${key}`,
        value: Buffer.from(value).toString('base64'),
      })),
    });
    await shows(hosts[0] ?? '', 'O=second');
  },
);

/** One request over TLS: subject of the certificate that is shown, and what is answered. */
async function greet(client: ProbePod, address: string, host: string): Promise<{ shown: string; body: string }> {
  const script = `
    const [address, host] = process.argv.slice(1);
    const socket = require('tls').connect({ host: address, port: 443, servername: host, rejectUnauthorized: false }, () => {
      const { subject = {} } = socket.getPeerCertificate();
      const shown = Object.entries(subject).map((pair) => pair.join('=')).join(' ');
      let text = '';
      socket.on('data', (chunk) => (text += chunk));
      socket.on('end', () => console.log(JSON.stringify({ shown, body: text.slice(text.indexOf('\\r\\n\\r\\n') + 4) })));
      socket.write('GET /?nonce=tls HTTP/1.1\\r\\nHost: ' + host + '\\r\\nConnection: close\\r\\n\\r\\n');
    });
    socket.setTimeout(5000, () => socket.destroy(new Error('no answer')));
    socket.on('error', (error) => console.log(JSON.stringify({ shown: String(error), body: '' })));
  `;
  const { stdout, stderr } = await client.exec(['/usr/bin/node', '-e', script, address, host]);
  const text = stdout.toString();
  if (text === '') throw new Error(`no word of the TLS client in ${client.name}: ${stderr}`);
  return JSON.parse(text) as { shown: string; body: string };
}
