// SPDX-License-Identifier: Apache-2.0
// The small pure parts of the bring-up.

import { expect } from 'chai';

import { readManifest } from './add-ons.ts';
import { unnamed } from './bundle.ts';
import { containerdConfig, lacksSysResource, parseContainerdVersion } from './containerd.ts';
import { formatResults } from './doctor.ts';
import { mountPoints } from './down.ts';
import { readGivenPrograms } from './given-programs.ts';
import { hostsFile, nodeResolvConf } from './node-files.ts';
import { etcdMembers, nodeServices } from './services.ts';
import type { ClusterState, NodeState } from './state.ts';

function stateOf(nodes: number, options: Partial<ClusterState['options']> = {}): ClusterState {
  const node = (_: unknown, index: number): NodeState => ({
    name: `n${index}`,
    role: index === 0 ? 'control-plane' : 'worker',
    address: `172.28.0.${10 + index}`,
    addresses: [`172.28.0.${10 + index}`],
    directory: `/nodes/n${index}`,
  });
  return {
    format: 1,
    name: 'c',
    createdAt: '',
    prefix: '172.28.0',
    options: {
      workers: nodes - 1,
      kubernetesVersion: 'v1.36.0',
      etcdEndpoints: '',
      etcdMembers: 1,
      proxyMode: 'nftables',
      network: 'routed',
      ipFamily: 'ipv4',
      loadBalancerRange: '',
      ingress: false,
      components: {},
      ...options,
    },
    nodes: Array.from({ length: nodes }, node),
    ready: false,
  };
}

describe('boot/services', () => {
  it('deals etcd members out over the nodes and keeps their ports apart', () => {
    expect(etcdMembers(stateOf(3, { etcdMembers: 3 })).map((member) => [member.node, member.clientPort])).to.deep.equal(
      [
        ['n0', 2379],
        ['n1', 2379],
        ['n2', 2379],
      ],
    );
    expect(etcdMembers(stateOf(1, { etcdMembers: 3 })).map((member) => member.metricsPort)).to.deep.equal([
      2381, 2391, 2401,
    ]);
    expect(etcdMembers(stateOf(3, { etcdEndpoints: 'https://10.0.0.1:2379' }))).to.deep.equal([]);
  });

  it('leaves out components that the project does not have, and taints the control plane when there are workers', () => {
    const state = stateOf(2);
    const [first, worker] = state.nodes;
    if (first === undefined || worker === undefined) throw new Error('no nodes');
    expect(nodeServices({ state, node: worker, bundles: new Map() }).map((service) => service.name)).to.deep.equal([
      'containerd',
    ]);
    // Any file that exists stands for the bundle.
    const bundles = new Map([['kubelet', import.meta.filename] as const]);
    const taints = (node: NodeState, of: ClusterState): boolean =>
      nodeServices({ state: of, node, bundles }).some((service) =>
        service.command.join(' ').includes('control-plane=:NoSchedule'),
      );
    expect(taints(first, state)).to.equal(true);
    expect(taints(worker, state)).to.equal(false);
    expect(taints(first, stateOf(1))).to.equal(false);
  });

  it('starts an executable that is given for a component with its flags, less those that only ours has', () => {
    const state = stateOf(1, { components: { 'kube-apiserver': '/u/kube-apiserver', 'kube-scheduler': '/u/s' } });
    const [node] = state.nodes;
    if (node === undefined) throw new Error('no nodes');
    const bundles = new Map([['kube-controller-manager', import.meta.filename] as const]);
    const commands = new Map(
      nodeServices({ state, node, bundles }).map((service) => [service.name, service.command] as const),
    );
    expect(commands.get('kube-scheduler')).to.deep.equal([
      '/u/s',
      '--kubeconfig=/etc/kubernetes/scheduler.conf',
      '--leader-elect=true',
    ]);
    expect(commands.get('kube-apiserver')?.[0]).to.equal('/u/kube-apiserver');
    expect(commands.get('kube-apiserver'))
      .to.include('--secure-port=6443')
      .and.include('--authorization-mode=Node,RBAC');
    expect(commands.get('kube-apiserver')?.join(' ')).not.to.include('--reported-version');
    expect(commands.get('kube-controller-manager')).to.include(import.meta.filename);
  });

  it('tells the range of load balancers to our controllers only, by no flag that upstream’s lack', () => {
    const loadBalancerRange = '172.28.7.200-172.28.7.239';
    const bundles = new Map([['kube-controller-manager', import.meta.filename] as const]);
    const services = [{}, { 'kube-controller-manager': '/u/kcm' }].map((components) => {
      const state = stateOf(1, { components, loadBalancerRange });
      const [node] = state.nodes;
      if (node === undefined) throw new Error('no nodes');
      return nodeServices({ state, node, bundles }).find(({ name }) => name === 'kube-controller-manager');
    });
    const [ours, given] = services;
    expect(ours?.env?.['PLUMB_LOAD_BALANCER_RANGE']).to.equal(loadBalancerRange);
    expect(given?.command.slice(1)).to.deep.equal(ours?.command.slice(-(given?.command.length ?? 0) + 1));
    expect(given?.command.join(' ')).not.to.include('load-balancer');
  });
});

describe('boot/given programs', () => {
  it('takes executables by the name of the component, and says what is wrong with others', () => {
    expect(readGivenPrograms([`kubelet=${process.execPath}`])).to.deep.equal({ kubelet: process.execPath });
    const refuses = (texts: readonly string[], why: string) =>
      expect(() => readGivenPrograms(texts), why).to.throw(why);
    refuses(['etcd=/usr/bin/etcd'], 'names are kube-apiserver');
    refuses(['kubelet'], 'write NAME=PATH');
    refuses(['kubelet=/tmp/kubelet'], 'every node has its own /tmp');
    refuses([`kubelet=${import.meta.filename}`], 'cannot be executed');
    refuses(['kubelet=/usr/bin'], 'is no file');
    refuses(['kubelet=/bin/sh', 'kubelet=/bin/sh'], 'given twice');
  });
});

describe('boot/containerd', () => {
  it('reads the version as Debian, Docker and upstream print it', () => {
    expect(
      parseContainerdVersion('containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3'),
    ).to.equal('1.6.20');
    expect(parseContainerdVersion('containerd containerd.io 1.7.24 88bf19b2105c8b17560993bee28a01ddc2f97182')).to.equal(
      '1.7.24',
    );
    expect(parseContainerdVersion('containerd github.com/containerd/containerd/v2 v2.1.4 75cb2b71')).to.equal('2.1.4');
    expect(() => parseContainerdVersion('what?')).to.throw('printed no version');
  });

  it('writes the format that the version understands', () => {
    const config = (version: string): string =>
      containerdConfig({ version, sandboxImage: 'p:1', cniDirectory: '/opt/cni/bin', restrictOomScoreAdj: true });
    expect(config('1.6.20')).to.include('version = 2').and.include('sandbox_image = "p:1"');
    expect(config('1.7.24')).to.include('version = 2');
    expect(config('2.1.4'))
      .to.include('version = 3')
      .and.include('sandbox = "p:1"')
      .and.include('io.containerd.cri.v1.runtime');
  });

  it('sees a missing CAP_SYS_RESOURCE', () => {
    expect(lacksSysResource('CapEff:\t000001fffeffffff\n')).to.equal(true);
    expect(lacksSysResource('CapEff:\t000001ffffffffff\n')).to.equal(false);
  });
});

describe('boot/node files', () => {
  it('passes on resolvers that a node can reach', () => {
    const stub = 'nameserver 127.0.0.53\n';
    expect(nodeResolvConf((path) => (path === '/etc/resolv.conf' ? stub : 'nameserver 192.0.2.53\n'))).to.equal(
      'nameserver 192.0.2.53\n',
    );
    expect(nodeResolvConf(() => stub)).to.match(/^#/);
    expect(nodeResolvConf(() => 'search x\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n')).to.equal(
      'nameserver 192.0.2.1\nnameserver 192.0.2.2\n',
    );
  });

  it('lets nodes know each other by name', () => {
    expect(hostsFile(stateOf(2).nodes)).to.include('172.28.0.11\tn1\n');
  });
});

describe('boot/bundle', () => {
  it('keeps bundles that a manifest, a process or a service names', () => {
    const texts = ['{"hash":"aaaa"}', 'node\0/build/bbbb/kubelet.mjs\0--v=0', ''];
    expect(unnamed(['aaaa', 'bbbb', 'cccc'], texts)).to.deep.equal(['cccc']);
  });
});

describe('boot/add-ons', () => {
  it('fills the version in, and names what is wrong with a file', () => {
    const text = 'apiVersion: v1\nkind: Pod\nmetadata: {name: "a{{version}}"}\n---\n# nothing\n';
    expect(readManifest(text, 'x.yaml', { version: '1.2.3' }).map((object) => object.metadata.name)).to.deep.equal([
      'a1.2.3',
    ]);
    expect(() => readManifest('kind: [', 'x.yaml', {})).to.throw('x.yaml');
    expect(() => readManifest('kind: Pod', 'x.yaml', {})).to.throw('x.yaml: every document needs apiVersion');
  });
});

describe('boot/down', () => {
  it('reads mount points with escaped characters', () => {
    expect(mountPoints('47 46 0:28 / /var/a\\040b rw - tmpfs tmpfs rw\n')).to.deep.equal(['/var/a b']);
  });
});

describe('boot/doctor', () => {
  it('says what to do about each failure, and whether a cluster can run', () => {
    const text = formatResults([
      { id: 'a', title: 'root', level: 'required', ok: false, detail: 'user 1000', remedy: 'use sudo' },
      { id: 'b', title: 'inotify', level: 'advised', ok: false, detail: '128', remedy: 'sysctl' },
      { id: 'c', title: 'disk', level: 'required', ok: true, detail: '9 GB', remedy: 'buy one' },
    ]);
    expect(text)
      .to.include('FAIL  root: user 1000\n      -> use sudo')
      .and.include('warn  inotify')
      .and.not.include('buy one');
    expect(text).to.match(/1 of these keep a cluster from running here\.\n$/);
  });
});
