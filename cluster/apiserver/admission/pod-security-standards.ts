// SPDX-License-Identifier: Apache-2.0
// The Pod Security Standards as checks of a pod: what is wrong with it at a level, in upstream's words and order. Pure.
import type { Container, Pod, PodSpec, SecurityContext, Volume } from '../../machinery/api-types.ts';

export type Level = 'baseline' | 'restricted';

interface Subject {
  readonly pod: Pick<Pod, 'metadata'>;
  readonly spec: PodSpec;
  readonly containers: readonly Pick<
    Container,
    'name' | 'securityContext' | 'ports' | 'lifecycle' | 'livenessProbe' | 'readinessProbe' | 'startupProbe'
  >[];
}

interface Violation {
  readonly reason: string;
  readonly detail: string;
}

type Check = (subject: Subject) => Violation | undefined;

const baselineCapabilities = new Set([
  'AUDIT_WRITE',
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'MKNOD',
  'NET_BIND_SERVICE',
  'SETFCAP',
  'SETGID',
  'SETPCAP',
  'SETUID',
  'SYS_CHROOT',
]);
const safeSysctls = new Set([
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.ping_group_range',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
  'net.ipv4.tcp_rmem',
  'net.ipv4.tcp_wmem',
]);
const selinuxTypes = new Set(['', 'container_t', 'container_init_t', 'container_kvm_t', 'container_engine_t']);
const restrictedVolumes = new Set([
  'configMap',
  'csi',
  'downwardAPI',
  'emptyDir',
  'ephemeral',
  'image',
  'persistentVolumeClaim',
  'projected',
  'secret',
]);

const baseline: readonly Check[] = [
  appArmor,
  capabilitiesBaseline,
  hostNamespaces,
  hostPathVolumes,
  hostPorts,
  hostOfProbes,
  privileged,
  procMount,
  seLinux,
  seccompBaseline,
  sysctls,
];
const restricted: readonly Check[] = [
  appArmor,
  hostNamespaces,
  hostPorts,
  hostOfProbes,
  privileged,
  procMount,
  seLinux,
  sysctls,
  allowPrivilegeEscalation,
  capabilitiesRestricted,
  volumesRestricted,
  runAsNonRoot,
  runAsUser,
  seccompRestricted,
];

/** `reason (detail)` for everything that the level does not allow. */
export function violationsOf(
  level: Level,
  pod: { readonly metadata: Pod['metadata']; readonly spec: PodSpec },
): string[] {
  const { spec } = pod;
  const subject: Subject = {
    pod,
    spec,
    containers: [...(spec.initContainers ?? []), ...(spec.containers ?? []), ...(spec.ephemeralContainers ?? [])],
  };
  return (level === 'baseline' ? baseline : restricted).flatMap((check) => {
    const found = check(subject);
    return found === undefined ? [] : [found.detail === '' ? found.reason : `${found.reason} (${found.detail})`];
  });
}

/** `container "a"` or `containers "a", "b"`. */
function named(containers: readonly { readonly name: string }[]): string {
  return `container${containers.length === 1 ? '' : 's'} ${quoted(containers.map(({ name }) => name))}`;
}

function quoted(values: readonly string[]): string {
  return values.map((value) => JSON.stringify(value)).join(', ');
}

function bad({ containers }: Subject, is: (context: SecurityContext) => boolean): readonly { readonly name: string }[] {
  return containers.filter(({ securityContext }) => is(securityContext ?? {}));
}

function violation(reason: string, details: readonly string[], separator = ', '): Violation | undefined {
  return details.length === 0 ? undefined : { reason, detail: details.join(separator) };
}

function containersMustNot(
  subject: Subject,
  reason: string,
  rule: { is: (context: SecurityContext) => boolean; what: string },
) {
  const found = bad(subject, rule.is);
  return found.length === 0 ? undefined : { reason, detail: `${named(found)} ${rule.what}` };
}

function privileged(subject: Subject): Violation | undefined {
  return containersMustNot(subject, 'privileged', {
    is: (context) => context.privileged === true,
    what: 'must not set securityContext.privileged=true',
  });
}

function hostNamespaces({ spec }: Subject): Violation | undefined {
  return violation(
    'host namespaces',
    (['hostNetwork', 'hostPID', 'hostIPC'] as const)
      .filter((field) => spec[field] === true)
      .map((field) => `${field}=true`),
  );
}

function hostPathVolumes({ spec }: Subject): Violation | undefined {
  const names = (spec.volumes ?? []).filter(({ hostPath }) => hostPath !== undefined).map(({ name }) => name);
  return names.length === 0
    ? undefined
    : { reason: 'hostPath volumes', detail: `volume${names.length === 1 ? '' : 's'} ${quoted(names)}` };
}

function hostPorts({ containers }: Subject): Violation | undefined {
  const using = containers.filter(({ ports }) => (ports ?? []).some(({ hostPort = 0 }) => hostPort !== 0));
  if (using.length === 0) {
    return undefined;
  }
  const ports = new Set(using.flatMap((container) => (container.ports ?? []).map(({ hostPort = 0 }) => hostPort)));
  ports.delete(0);
  const list = [...ports].toSorted((left, right) => left - right).join(', ');
  return {
    reason: 'hostPort',
    detail: `${named(using)} use${using.length === 1 ? 's' : ''} hostPort${ports.size === 1 ? '' : 's'} ${list}`,
  };
}

function hostOfProbes({ containers }: Subject): Violation | undefined {
  const using = containers.filter(({ livenessProbe, readinessProbe, startupProbe, lifecycle }) =>
    [livenessProbe, readinessProbe, startupProbe, lifecycle?.preStop, lifecycle?.postStart].some(
      (handler) => (handler?.httpGet?.host ?? handler?.tcpSocket?.host ?? '') !== '',
    ),
  );
  return using.length === 0
    ? undefined
    : {
        reason: 'probe or lifecycle host',
        detail: `${named(using)} use${using.length === 1 ? 's' : ''} probe or lifecycle host`,
      };
}

function procMount(subject: Subject): Violation | undefined {
  if (subject.spec.hostUsers === false) {
    return undefined;
  }
  return containersMustNot(subject, 'procMount', {
    is: ({ procMount: mount = 'Default' }) => mount !== 'Default',
    what: 'must not set securityContext.procMount to "Unmasked"',
  });
}

function capabilitiesBaseline(subject: Subject): Violation | undefined {
  const forbidden = new Set<string>();
  const found = bad(subject, ({ capabilities }) => {
    const extra = (capabilities?.add ?? []).filter((name) => !baselineCapabilities.has(name));
    extra.forEach((name) => forbidden.add(name));
    return extra.length > 0;
  });
  return found.length === 0
    ? undefined
    : {
        reason: 'non-default capabilities',
        detail: `${named(found)} must not include ${quoted([...forbidden].toSorted())} in securityContext.capabilities.add`,
      };
}

function capabilitiesRestricted(subject: Subject): Violation | undefined {
  const forbidden = new Set<string>();
  const lacking = bad(subject, ({ capabilities }) => !(capabilities?.drop ?? []).includes('ALL'));
  const adding = bad(subject, ({ capabilities }) => {
    const extra = (capabilities?.add ?? []).filter((name) => name !== 'NET_BIND_SERVICE');
    extra.forEach((name) => forbidden.add(name));
    return extra.length > 0;
  });
  return violation(
    'unrestricted capabilities',
    [
      ...(lacking.length > 0 ? [`${named(lacking)} must set securityContext.capabilities.drop=["ALL"]`] : []),
      ...(adding.length > 0
        ? [`${named(adding)} must not include ${quoted([...forbidden].toSorted())} in securityContext.capabilities.add`]
        : []),
    ],
    '; ',
  );
}

function allowPrivilegeEscalation(subject: Subject): Violation | undefined {
  return containersMustNot(subject, 'allowPrivilegeEscalation != false', {
    is: (context) => context.allowPrivilegeEscalation !== false,
    what: 'must set securityContext.allowPrivilegeEscalation=false',
  });
}

function volumesRestricted({ spec }: Subject): Violation | undefined {
  const typeOf = (volume: Volume): string => Object.keys(volume).find((key) => key !== 'name') ?? 'emptyDir';
  const found = (spec.volumes ?? []).filter((volume) => !restrictedVolumes.has(typeOf(volume)));
  if (found.length === 0) {
    return undefined;
  }
  const types = [...new Set(found.map(typeOf))].toSorted();
  const one = found.length === 1;
  return {
    reason: 'restricted volume types',
    detail: `volume${one ? '' : 's'} ${quoted(found.map(({ name }) => name))} ${one ? 'uses' : 'use'} restricted volume type${types.length === 1 ? '' : 's'} ${quoted(types)}`,
  };
}

function runAsNonRoot(subject: Subject): Violation | undefined {
  const { spec } = subject;
  const reason = 'runAsNonRoot != true';
  const podWide = spec.securityContext?.runAsNonRoot;
  const explicit = bad(subject, (context) => context.runAsNonRoot === false);
  if (podWide === false || explicit.length > 0) {
    return violation(reason, [
      ...(podWide === false ? ['pod must not set securityContext.runAsNonRoot=false'] : []),
      ...(explicit.length > 0 ? [`${named(explicit)} must not set securityContext.runAsNonRoot=false`] : []),
    ]);
  }
  const silent = bad(subject, (context) => context.runAsNonRoot === undefined);
  return podWide === true || silent.length === 0
    ? undefined
    : { reason, detail: `pod or ${named(silent)} must set securityContext.runAsNonRoot=true` };
}

function runAsUser(subject: Subject): Violation | undefined {
  const found = bad(subject, (context) => context.runAsUser === 0);
  return violation('runAsUser=0', [
    ...(subject.spec.securityContext?.runAsUser === 0 ? ['pod must not set runAsUser=0'] : []),
    ...(found.length > 0 ? [`${named(found)} must not set runAsUser=0`] : []),
  ]);
}

function isConfined(type: string | undefined): boolean {
  return type === 'RuntimeDefault' || type === 'Localhost';
}

function seccompBaseline(subject: Subject): Violation | undefined {
  const wrong = (type: string | undefined): boolean => type !== undefined && !isConfined(type);
  const found = bad(subject, ({ seccompProfile }) => wrong(seccompProfile?.type));
  return violation('seccompProfile', [
    ...(wrong(subject.spec.securityContext?.seccompProfile?.type)
      ? ['pod must not set securityContext.seccompProfile.type to "Unconfined"']
      : []),
    ...(found.length > 0 ? [`${named(found)} must not set securityContext.seccompProfile.type to "Unconfined"`] : []),
  ]);
}

function seccompRestricted(subject: Subject): Violation | undefined {
  const explicit = seccompBaseline(subject);
  if (explicit !== undefined) {
    return explicit;
  }
  const silent = bad(subject, ({ seccompProfile }) => seccompProfile === undefined);
  return isConfined(subject.spec.securityContext?.seccompProfile?.type) || silent.length === 0
    ? undefined
    : {
        reason: 'seccompProfile',
        detail: `pod or ${named(silent)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"`,
      };
}

function seLinux(subject: Subject): Violation | undefined {
  const { spec, containers } = subject;
  const all = [
    { who: 'pod', options: spec.securityContext?.seLinuxOptions },
    ...containers.map(({ name, securityContext }) => ({
      who: `container ${JSON.stringify(name)}`,
      options: securityContext?.seLinuxOptions,
    })),
  ];
  const wrong = all.filter(
    ({ options }) =>
      options !== undefined &&
      (!selinuxTypes.has(options.type ?? '') || (options.user ?? '') !== '' || (options.role ?? '') !== ''),
  );
  return wrong.length === 0
    ? undefined
    : {
        reason: 'seLinuxOptions',
        detail: `${wrong.map(({ who }) => who).join(' and ')} set forbidden securityContext.seLinuxOptions`,
      };
}

function sysctls({ spec }: Subject): Violation | undefined {
  return violation(
    'forbidden sysctls',
    (spec.securityContext?.sysctls ?? []).map(({ name }) => name).filter((name) => !safeSysctls.has(name)),
  );
}

function appArmor(subject: Subject): Violation | undefined {
  const { spec, pod } = subject;
  const found = bad(subject, ({ appArmorProfile }) => appArmorProfile?.type === 'Unconfined');
  const annotations = Object.entries(pod.metadata.annotations ?? {})
    .filter(
      ([key, value]) =>
        key.startsWith('container.apparmor.security.beta.kubernetes.io/') &&
        value !== '' &&
        value !== 'runtime/default' &&
        !value.startsWith('localhost/'),
    )
    .map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  const details = [
    ...(spec.securityContext?.appArmorProfile?.type === 'Unconfined'
      ? ['pod must not set AppArmor profile type to "Unconfined"']
      : []),
    ...(found.length > 0 ? [`${named(found)} must not set AppArmor profile type to "Unconfined"`] : []),
    ...annotations,
  ];
  return violation(details.length > 1 ? 'forbidden AppArmor profiles' : 'forbidden AppArmor profile', details);
}
