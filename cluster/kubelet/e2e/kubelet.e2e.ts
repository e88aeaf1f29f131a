// SPDX-License-Identifier: Apache-2.0
// The kubelet on a real node: containers through containerd, volumes, probes, termination, restarts of the kubelet itself. Brings up a cluster of one
// node for itself. Needs root.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'chai';
import type { Container, CSINode, Node, Pod, PodSpec } from '../../machinery/api-types.ts';
import { Client, isNotFound } from '../../machinery/client.ts';
import { resources } from '../../machinery/resources.ts';
import { until } from '../../machines/until.ts';

const cluster = 'kubelet-e2e';
const nodeName = `${cluster}-control-plane`;
const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../../package.json'), 'utf8')) as {
  version: string;
};
const image = `plumbline.local/probe:${version}`;
const namespace = 'default';

describe('the kubelet on a node', function () {
  this.timeout(60_000);
  let stateDirectory: string;
  let nodeFolder: string;
  let client: Client;

  before(async function () {
    this.timeout(180_000);
    stateDirectory = mkdtempSync(join(tmpdir(), 'kubelet-e2e-'));
    const up = await boot('up', '--name', cluster, '--workers', '0');
    expect(up.code, up.output).to.equal(0);
    nodeFolder = join(stateDirectory, 'clusters', cluster, 'nodes', nodeName);
    client = Client.fromKubeconfig(join(stateDirectory, 'clusters', cluster, 'kubeconfig'));
  });

  after(async () => {
    client?.close();
    await boot('down', '--name', cluster);
    rmSync(stateDirectory, { recursive: true, force: true });
  });

  function boot(...args: string[]): Promise<{ code: number; output: string }> {
    return new Promise((resolve) => {
      const child = spawn(process.execPath, [join(import.meta.dirname, '../../boot/main.ts'), ...args], {
        env: { ...process.env, PLUMB_STATE_DIR: stateDirectory },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let output = '';
      for (const stream of [child.stdout, child.stderr])
        stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
      child.on('close', (code) => resolve({ code: code ?? -1, output }));
    });
  }

  const shell = (script: string, more: Partial<Container> = {}): Container => ({
    name: 'c',
    image,
    imagePullPolicy: 'IfNotPresent',
    command: ['/bin/busybox', 'sh', '-c', script],
    ...more,
  });
  const untilTerm = 'trap "exit 0" TERM; while true; do sleep 0.1; done';

  async function run(name: string, spec: Partial<PodSpec>, metadata: Pod['metadata'] = {}): Promise<void> {
    await client.create(resources.pods, {
      metadata: { name, namespace, ...metadata },
      spec: {
        terminationGracePeriodSeconds: 1,
        automountServiceAccountToken: false,
        containers: [shell(untilTerm)],
        ...spec,
      },
    });
  }

  const get = (name: string): Promise<Pod> => client.get<Pod>(resources.pods, name, namespace);

  async function becomes(
    name: string,
    what: string,
    condition: (pod: Pod) => boolean,
    timeoutMs = 20_000,
  ): Promise<Pod> {
    let last: Pod | undefined;
    await until(async () => condition((last = await get(name))), {
      what: `${name}: ${what}`,
      timeoutMs,
      intervalMs: 100,
    }).catch((error: Error) => {
      throw new Error(`${error.message}; status: ${JSON.stringify(last?.status)}`);
    });
    return last as Pod;
  }

  const isReady = (pod: Pod): boolean =>
    pod.status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True') ?? false;
  const ready = (name: string): Promise<Pod> => becomes(name, 'Ready', isReady);
  const phase = (name: string, wanted: string): Promise<Pod> =>
    becomes(name, wanted, (pod) => pod.status?.phase === wanted);

  async function gone(name: string): Promise<void> {
    const isGone = async (): Promise<boolean> =>
      get(name).then(
        () => false,
        (error: unknown) => isNotFound(error),
      );
    await until(isGone, { what: `${name} to be gone`, timeoutMs: 20_000, intervalMs: 50 });
  }

  async function remove(name: string, graceSeconds?: number): Promise<void> {
    await client.delete(resources.pods, name, {
      namespace,
      ...(graceSeconds !== undefined && { gracePeriodSeconds: graceSeconds }),
    });
    await gone(name);
  }

  async function logs(name: string, query = ''): Promise<string> {
    const answer = await client.raw('GET', `/api/v1/namespaces/${namespace}/pods/${name}/log${query}`);
    return answer.body.toString();
  }

  /** What is left of a pod on the node: folders, logs, cgroups. */
  async function traces(uid: string): Promise<string[]> {
    const found = [
      ...readdirSync(join(nodeFolder, 'kubelet/pods')),
      ...readdirSync(join(nodeFolder, 'pod-logs')),
    ].filter((name) => name.includes(uid));
    const groups = await boot('exec', '--name', cluster, nodeName, '--', 'find', '/sys/fs/cgroup', '-name', `*${uid}*`);
    const containers = await boot(
      'exec',
      '--name',
      cluster,
      nodeName,
      '--',
      'ctr',
      '-n',
      'k8s.io',
      'containers',
      'ls',
      '-q',
      `labels."io.kubernetes.pod.uid"==${uid}`,
    );
    return [...found, ...`${groups.output}${containers.output}`.split('\n').filter((line) => line !== '')];
  }

  async function leavesNoTrace(pod: Pod): Promise<void> {
    let left: string[] = [];
    const clean = async (): Promise<boolean> => (left = await traces(pod.metadata.uid ?? '')).length === 0;
    await until(clean, { what: 'all traces to be gone', timeoutMs: 60_000, intervalMs: 100 }).catch((error: Error) => {
      throw new Error(`${error.message}: ${left.join(' ')}`);
    });
  }

  it('runs a pod with everything that a container sees, and leaves no trace of it', async () => {
    await client.create(resources.configMaps, { metadata: { name: 'cm', namespace }, data: { key: 'one' } });
    await client.create(resources.secrets, { metadata: { name: 'sec', namespace }, stringData: { pw: 'hunter2' } });
    const script = `id -u; id -G; hostname -f; cat /etc/hosts | tail -1; echo "$FROM $EXPANDED $LIMIT"; cat /cm/key /sec/pw /down/name; ls -la /mem >/dev/null && grep -c " /mem tmpfs" /proc/mounts; stat -c %g /ed; cat /sub; touch /ro-root 2>/dev/null || echo read-only; ${untilTerm}`;
    await run('full', {
      hostname: 'host',
      subdomain: 'sub',
      hostAliases: [{ ip: '192.0.2.7', hostnames: ['alias'] }],
      securityContext: { runAsUser: 1000, runAsNonRoot: true, fsGroup: 2000, supplementalGroups: [3000] },
      containers: [
        shell(script, {
          env: [
            { name: 'FROM', valueFrom: { configMapKeyRef: { name: 'cm', key: 'key' } } },
            { name: 'EXPANDED', value: '<$(FROM)>' },
            { name: 'LIMIT', valueFrom: { resourceFieldRef: { resource: 'limits.memory', divisor: '1Mi' } } },
          ],
          resources: { limits: { memory: '64Mi', cpu: '500m' } },
          securityContext: {
            readOnlyRootFilesystem: true,
            allowPrivilegeEscalation: false,
            capabilities: { drop: ['ALL'] },
            seccompProfile: { type: 'RuntimeDefault' },
          },
          volumeMounts: [
            { name: 'cm', mountPath: '/cm' },
            { name: 'cm', mountPath: '/sub', subPath: 'key' },
            { name: 'sec', mountPath: '/sec' },
            { name: 'down', mountPath: '/down' },
            { name: 'mem', mountPath: '/mem' },
            { name: 'ed', mountPath: '/ed' },
          ],
        }),
      ],
      volumes: [
        { name: 'cm', configMap: { name: 'cm' } },
        { name: 'sec', secret: { secretName: 'sec' } },
        { name: 'down', downwardAPI: { items: [{ path: 'name', fieldRef: { fieldPath: 'metadata.name' } }] } },
        { name: 'mem', emptyDir: { medium: 'Memory' } },
        { name: 'ed', emptyDir: {} },
      ],
    });
    const pod = await ready('full');
    await until(async () => (await logs('full')).includes('read-only'), {
      what: 'the log',
      timeoutMs: 5_000,
      intervalMs: 50,
    });
    expect((await logs('full')).split('\n').slice(0, 5)).to.deep.equal([
      '1000',
      '0 2000 3000',
      'host.sub.default.svc.cluster.local',
      '192.0.2.7\talias',
      'one <one> 64',
    ]);
    expect((await logs('full')).split('\n')[5]).to.equal('onehunter2full1');
    expect(await logs('full', '?tailLines=2')).to.include('read-only');
    expect(pod.status).to.include({ phase: 'Running', qosClass: 'Guaranteed' });

    await client.patch(resources.configMaps, 'cm', { namespace, type: 'merge', body: { data: { key: 'two' } } });
    const onDisk = join(nodeFolder, 'kubelet/pods', pod.metadata.uid ?? '', 'volumes/kubernetes.io~configmap/cm/key');
    await until(() => readFileSync(onDisk, 'utf8') === 'two', {
      what: 'the new content in the volume',
      timeoutMs: 10_000,
    });

    await remove('full');
    await leavesNoTrace(pod);
  });

  it('runs init containers in order, keeps sidecars, and ends them after the rest', async () => {
    await run('order', {
      restartPolicy: 'Never',
      initContainers: [
        shell('sleep 0.2', { name: 'first' }),
        shell(untilTerm, {
          name: 'side',
          restartPolicy: 'Always',
          startupProbe: { exec: { command: ['/bin/busybox', 'true'] } },
        }),
        shell('true', { name: 'last' }),
      ],
      containers: [shell('sleep 0.3; echo done > /dev/termination-log')],
    });
    const { status } = await phase('order', 'Succeeded');
    const [first, side, last] = status?.initContainerStatuses ?? [];
    const main = status?.containerStatuses?.[0];
    expect(main?.state?.terminated).to.include({ exitCode: 0, reason: 'Completed', message: 'done\n' });
    expect(side?.state?.terminated?.exitCode).to.equal(0);
    const order = [
      first?.state?.terminated?.finishedAt,
      side?.state?.terminated?.startedAt,
      last?.state?.terminated?.startedAt,
      main?.state?.terminated?.startedAt,
    ];
    expect(order).to.deep.equal(order.toSorted());
    await remove('order');
  });

  it('backs off from a crash, says why, and keeps the log of the run before', async () => {
    await run('crash', {
      containers: [shell('echo boom; exit 3', { terminationMessagePolicy: 'FallbackToLogsOnError' })],
    });
    const { status } = await becomes(
      'crash',
      'CrashLoopBackOff',
      (pod) => pod.status?.containerStatuses?.[0]?.state?.waiting?.reason === 'CrashLoopBackOff',
    );
    const container = status?.containerStatuses?.[0];
    expect(container?.lastState?.terminated).to.include({ exitCode: 3, reason: 'Error', message: 'boom\n' });
    expect(container?.restartCount).to.be.greaterThan(0);
    expect(await logs('crash', '?previous=true')).to.equal('boom\n');
    await remove('crash', 0);
  });

  it('says what keeps a container from starting', async () => {
    await run('no-image', { containers: [shell('true', { image: 'localhost:1/none:1' })] });
    await run('never-pull', { containers: [shell('true', { image: 'localhost:1/none:1', imagePullPolicy: 'Never' })] });
    await run('no-config', {
      containers: [shell('true', { env: [{ name: 'X', valueFrom: { secretKeyRef: { name: 'absent', key: 'k' } } }] })],
    });
    await run('as-root', { containers: [shell('true', { securityContext: { runAsNonRoot: true, runAsUser: 0 } })] });
    const waits = (name: string, reason: string): Promise<Pod> =>
      becomes(name, reason, (pod) => pod.status?.containerStatuses?.[0]?.state?.waiting?.reason === reason);
    await waits('no-image', 'ImagePullBackOff');
    await waits('never-pull', 'ErrImageNeverPull');
    await waits('as-root', 'CreateContainerConfigError');
    const { status } = await waits('no-config', 'CreateContainerConfigError');
    expect(status?.containerStatuses?.[0]?.state?.waiting?.message).to.equal('secret "absent" not found');
    await client.create(resources.secrets, { metadata: { name: 'absent', namespace }, stringData: { k: 'v' } });
    await becomes(
      'no-config',
      'a start once the secret is there',
      (pod) =>
        (pod.status?.containerStatuses?.[0]?.restartCount ?? 0) > 0 ||
        pod.status?.containerStatuses?.[0]?.containerID !== undefined,
    );
    await Promise.all(['no-image', 'never-pull', 'no-config', 'as-root'].map((name) => remove(name, 0)));
  });

  it('restarts on failed liveness, and is Ready when the HTTP probe says so', async () => {
    await run('probed', {
      containers: [
        shell(
          'mkdir /tmp/w; /bin/busybox httpd -p 8080 -h /tmp/w; sleep 1; echo ok > /tmp/w/ready; touch /tmp/alive; sleep 3; rm /tmp/alive; sleep 60',
          {
            readinessProbe: { httpGet: { path: '/ready', port: 8080 }, periodSeconds: 1, failureThreshold: 1 },
            livenessProbe: {
              exec: { command: ['/bin/busybox', 'test', '-e', '/tmp/alive'] },
              initialDelaySeconds: 2,
              periodSeconds: 1,
              failureThreshold: 1,
            },
          },
        ),
      ],
    });
    await becomes('probed', 'Running', (pod) => pod.status?.phase === 'Running');
    expect(isReady(await get('probed'))).to.equal(false);
    await ready('probed');
    await becomes('probed', 'a restart', (pod) => (pod.status?.containerStatuses?.[0]?.restartCount ?? 0) >= 1);
    await remove('probed', 0);
  });

  it('ends a pod with preStop, signal and grace, in this order', async () => {
    await run('grace', {
      terminationGracePeriodSeconds: 10,
      containers: [
        shell('trap "echo term; sleep 0.5; echo bye; exit 0" TERM; while true; do sleep 0.1; done', {
          lifecycle: {
            preStop: { exec: { command: ['/bin/busybox', 'sh', '-c', 'echo pre-stop > /proc/1/fd/1; sleep 0.5'] } },
          },
        }),
      ],
    });
    const pod = await ready('grace');
    const log = join(nodeFolder, 'pod-logs', `default_grace_${pod.metadata.uid}`, 'c/0.log');
    await client.delete(resources.pods, 'grace', { namespace });
    let text = '';
    await until(() => (text = existsSync(log) ? readFileSync(log, 'utf8') : text).includes('bye'), {
      what: 'the last words',
      timeoutMs: 10_000,
      intervalMs: 20,
    });
    expect(text.match(/pre-stop|term|bye/g)).to.deep.equal(['pre-stop', 'term', 'bye']);
    await gone('grace');
  });

  it('shows that a pod is no longer ready while it ends', async () => {
    await run('leaving', {
      terminationGracePeriodSeconds: 30,
      containers: [
        shell('touch /tmp/ok; trap "rm /tmp/ok" TERM; while [ ! -e /tmp/go ]; do sleep 0.1; done', {
          readinessProbe: {
            exec: { command: ['/bin/busybox', 'test', '-e', '/tmp/ok'] },
            periodSeconds: 1,
            failureThreshold: 1,
          },
        }),
      ],
    });
    await ready('leaving');
    await client.delete(resources.pods, 'leaving', { namespace });
    const pod = await becomes('leaving', 'unready', (one) => !isReady(one));
    expect(pod.metadata.deletionTimestamp).to.not.equal(undefined);
    expect(pod.status?.containerStatuses?.[0]?.state?.running).to.not.equal(undefined);
    await remove('leaving', 0);
  });

  it('kills what ignores its signal when the grace is over, and at once when told to hurry', async () => {
    await run('stubborn', {
      terminationGracePeriodSeconds: 60,
      containers: [shell('trap "" TERM; while true; do sleep 0.1; done')],
    });
    const pod = await ready('stubborn');
    await client.delete(resources.pods, 'stubborn', { namespace });
    await pause(500);
    expect((await get('stubborn')).metadata.deletionTimestamp).to.be.a('string');
    await remove('stubborn', 1);
    await leavesNoTrace(pod);
  });

  it('kills a container that wants too much memory, and a pod that takes too long or too much of the disk', async () => {
    await run('greedy', {
      containers: [
        shell(`dd if=/dev/zero of=/scratch/file bs=1M count=2; ${untilTerm}`, {
          volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }],
        }),
      ],
      volumes: [{ name: 'scratch', emptyDir: { sizeLimit: '1Mi' } }],
    });
    await run('hungry', {
      restartPolicy: 'Never',
      containers: [shell('tail /dev/zero', { resources: { limits: { memory: '16Mi' } } })],
    });
    await run('late', { activeDeadlineSeconds: 1 });
    expect((await phase('hungry', 'Failed')).status?.containerStatuses?.[0]?.state?.terminated).to.include({
      exitCode: 137,
      reason: 'OOMKilled',
    });
    expect((await phase('late', 'Failed')).status).to.include({ reason: 'DeadlineExceeded' });
    expect((await phase('greedy', 'Failed')).status).to.include({
      reason: 'Evicted',
      message: 'Usage of EmptyDir volume "scratch" exceeds the limit "1Mi". ',
    });
    await Promise.all([remove('hungry', 0), remove('late', 0), remove('greedy', 0)]);
  });

  it('refuses what does not fit, with the reason', async () => {
    await run('huge', { nodeName, containers: [shell('true', { resources: { requests: { cpu: '1000' } } })] });
    expect((await phase('huge', 'Failed')).status?.reason).to.equal('OutOfcpu');
    await remove('huge', 0);
  });

  it('runs static pods and shows them by a mirror, which cannot be deleted for good', async () => {
    const manifest = join(nodeFolder, 'kubernetes/manifests/static.yaml');
    const name = `static-${nodeName}`;
    const write = (word: string): void =>
      writeFileSync(
        manifest,
        JSON.stringify({
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { name: 'static', namespace },
          spec: { terminationGracePeriodSeconds: 1, containers: [shell(`echo ${word}; ${untilTerm}`)] },
        }),
      );
    write('before');
    const exists = (pod: Pod | undefined): boolean => pod !== undefined && isReady(pod);
    await until(async () => exists(await get(name)), {
      what: 'the mirror pod to be Ready',
      timeoutMs: 20_000,
      intervalMs: 100,
    });
    const mirror = await get(name);
    expect(mirror.metadata.annotations).to.include.keys('kubernetes.io/config.mirror', 'kubernetes.io/config.hash');
    await client.delete(resources.pods, name, { namespace, gracePeriodSeconds: 0 });
    await until(async () => (await get(name)).metadata.uid !== mirror.metadata.uid, {
      what: 'a new mirror',
      timeoutMs: 10_000,
      intervalMs: 100,
    });
    await until(async () => (await logs(name)) === 'before\n', {
      what: 'the same container as before',
      timeoutMs: 10_000,
      intervalMs: 100,
    });
    write('after');
    await until(async () => (await logs(name)) === 'after\n', {
      what: 'the changed pod',
      timeoutMs: 20_000,
      intervalMs: 100,
    });
    rmSync(manifest);
    await gone(name);
  });

  it('is killed and comes back without disturbing pods, and makes up for what it missed', async () => {
    await run('steady', {});
    await run('leaving', {});
    const before = await ready('steady');
    await ready('leaving');
    const status = await boot('status', '--name', cluster);
    const pid = Number(/\skubelet\s+up\D+\d+ \S+\s+(\d+)/.exec(status.output)?.[1]);
    expect(pid, status.output).to.be.greaterThan(1);
    process.kill(pid, 'SIGKILL');
    await client.delete(resources.pods, 'leaving', { namespace });
    await run('arriving', { nodeName });
    await ready('arriving');
    await gone('leaving');
    const after = await get('steady');
    expect(after.status?.containerStatuses?.[0]).to.include({
      containerID: before.status?.containerStatuses?.[0]?.containerID ?? '',
      restartCount: 0,
      ready: true,
    });
    const transition = (pod: Pod): string | undefined =>
      pod.status?.conditions?.find((one) => one.type === 'Ready')?.lastTransitionTime;
    expect(transition(after)).to.equal(transition(before));
    await Promise.all([remove('steady', 0), remove('arriving', 0)]);
  });

  it('keeps its lease fresh and tells nothing to strangers', async () => {
    const node = await client.get<Node>(resources.nodes, nodeName);
    const address = node.status?.addresses?.find((one) => one.type === 'InternalIP')?.address ?? '';
    expect(node.status?.nodeInfo?.kubeletVersion).to.match(/^v1\.\d+/);
    const lease = await client.get<{ spec: { renewTime: string } }>(resources.leases, nodeName, 'kube-node-lease');
    expect(Date.now() - Date.parse(lease.spec.renewTime)).to.be.lessThan(30_000);
    const status = await new Promise<number>((resolve, reject) => {
      httpsRequest({ host: address, port: 10_250, path: '/pods', rejectUnauthorized: false }, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      })
        .on('error', reject)
        .end();
    });
    expect(status).to.equal(401);
  });

  it('finds a CSI driver, mounts its volumes, and takes all back', async () => {
    const driver: ChildProcess = spawn(
      process.execPath,
      [
        join(import.meta.dirname, '../../boot/main.ts'),
        'exec',
        '--name',
        cluster,
        nodeName,
        '--',
        process.execPath,
        join(import.meta.dirname, 'csi-driver.ts'),
        'test.csi',
      ],
      { env: { ...process.env, PLUMB_STATE_DIR: stateDirectory }, stdio: ['pipe', 'inherit', 'inherit'] },
    );
    try {
      const registered = async (): Promise<boolean> => {
        const { spec } = await client.get<CSINode>(resources.csiNodes, nodeName);
        return (
          spec?.drivers?.some(
            (one) => one.name === 'test.csi' && one.nodeID === 'node-1' && one.allocatable?.count === 7,
          ) ?? false
        );
      };
      await until(registered, { what: 'the driver in CSINode', timeoutMs: 15_000, intervalMs: 100 });
      expect((await client.get<Node>(resources.nodes, nodeName)).metadata.labels).to.include({ 'test.csi/zone': 'a' });
      await client.create(resources.csiDrivers, {
        metadata: { name: 'test.csi' },
        spec: { attachRequired: false, fsGroupPolicy: 'File' },
      });
      await client.create(resources.persistentVolumes, {
        metadata: { name: 'pv' },
        spec: {
          capacity: { storage: '1Gi' },
          accessModes: ['ReadWriteOnce'],
          storageClassName: '',
          csi: { driver: 'test.csi', volumeHandle: 'vol-1' },
          claimRef: { name: 'claim', namespace },
        },
      });
      await client.create(resources.persistentVolumeClaims, {
        metadata: { name: 'claim', namespace },
        spec: {
          accessModes: ['ReadWriteOnce'],
          storageClassName: '',
          volumeName: 'pv',
          resources: { requests: { storage: '1Gi' } },
        },
      });
      const user = (script: string): Partial<PodSpec> => ({
        securityContext: { runAsUser: 1000, fsGroup: 4000 },
        containers: [shell(script, { volumeMounts: [{ name: 'data', mountPath: '/data' }] })],
        volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'claim' } }],
      });
      await run('writer', user(`echo kept > /data/file; stat -c %g /data; ${untilTerm}`));
      await ready('writer');
      await until(async () => (await logs('writer')) === '4000\n', {
        what: 'the volume to belong to the fsGroup',
        timeoutMs: 5_000,
        intervalMs: 50,
      });
      await remove('writer');
      await run('reader', user(`cat /data/file; ${untilTerm}`));
      await ready('reader');
      await until(async () => (await logs('reader')) === 'kept\n', {
        what: 'what the first pod wrote',
        timeoutMs: 5_000,
        intervalMs: 50,
      });
      await remove('reader');
      const journal = readFileSync(join(nodeFolder, 'kubelet/plugins/test.csi/journal'), 'utf8');
      const round = ['NodeStageVolume', 'NodePublishVolume', 'NodeUnpublishVolume', 'NodeUnstageVolume'];
      expect(journal.match(/Node(?:Uns|S|P|Unp)\w+/g)).to.deep.equal([...round, ...round]);
      const mounts = await boot(
        'exec',
        '--name',
        cluster,
        nodeName,
        '--',
        'grep',
        '-c',
        'csi/test.csi',
        '/proc/self/mounts',
      );
      expect(mounts.output.trim()).to.equal('0');
    } finally {
      driver.stdin?.end();
    }
    const unregistered = async (): Promise<boolean> => {
      const { spec } = await client.get<CSINode>(resources.csiNodes, nodeName);
      return !spec?.drivers?.some((one) => one.name === 'test.csi');
    };
    await until(unregistered, { what: 'the driver to leave CSINode', timeoutMs: 15_000, intervalMs: 100 });
  });
});
