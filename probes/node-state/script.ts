// SPDX-License-Identifier: Apache-2.0
/** The shell script that reads everything in one go, and its answer taken apart again. It changes nothing on the node. */

export interface Section {
  readonly text: string;
  readonly code: number;
  /** What it wrote to standard error. */
  readonly message: string;
}

/** For programs that may wait for somebody: for a lock of the node's rules, or for its file system. Of the others none does, and there are many. */
const limited = 'timeout 20';

/** Programs of the probe image by their paths: busybox's shell prefers its own `ip` and would not print JSON. */
const programs = ['ip', 'nft', 'ss', 'conntrack'];

/** Reads a program of the node itself, in the node's file system but in this pod's network, which is the node's. */
const onHost = (program: string): string => `${limited} nsenter -t 1 -m -- ${program}`;

const sysctls = [
  'net/ipv4/ip_forward',
  'net/ipv4/conf/*/forwarding',
  'net/ipv4/conf/*/rp_filter',
  'net/ipv4/conf/*/src_valid_mark',
  'net/ipv4/conf/*/accept_local',
  'net/ipv4/conf/*/route_localnet',
  'net/ipv4/conf/*/proxy_arp',
  'net/ipv4/conf/*/arp_ignore',
  'net/ipv4/neigh/default/gc_thresh*',
  'net/ipv4/ip_local_port_range',
  'net/ipv6/conf/*/forwarding',
  'net/ipv6/conf/*/disable_ipv6',
  'net/ipv6/conf/*/proxy_ndp',
  'net/ipv6/neigh/default/gc_thresh*',
  'net/bridge/bridge-nf-call-*',
  'net/netfilter/nf_conntrack_max',
  'net/netfilter/nf_conntrack_count',
  'net/netfilter/nf_conntrack_buckets',
  'net/netfilter/nf_conntrack_tcp_be_liberal',
  'net/netfilter/nf_conntrack_udp_timeout*',
  'net/netfilter/nf_conntrack_tcp_timeout_established',
  'net/core/somaxconn',
  'net/core/netdev_max_backlog',
];

const sections: Readonly<Record<string, string>> = {
  kernel: 'uname -r',
  links: '$ip -j -d -s address show',
  routes4: '$ip -j -d -4 route show table all',
  routes6: '$ip -j -d -6 route show table all',
  rules4: '$ip -j -4 rule show',
  rules6: '$ip -j -6 rule show',
  neighbours4: '$ip -j -4 neigh show nud all',
  neighbours6: '$ip -j -6 neigh show nud all',
  'proxied-neighbours4': '$ip -j -4 neigh show proxy',
  'proxied-neighbours6': '$ip -j -6 neigh show proxy',
  fdb: '$ip -j -B neigh show',
  nft: `${limited} $nft -j -a list ruleset`,
  'iptables-nft4': onHost('iptables-nft-save -c'),
  'iptables-nft6': onHost('ip6tables-nft-save -c'),
  'iptables-legacy4': onHost('iptables-legacy-save -c'),
  'iptables-legacy6': onHost('ip6tables-legacy-save -c'),
  // For nodes whose programs are not called by their back-end: which of the two the plain name stands for.
  'iptables-version': onHost('iptables -V'),
  ipset: onHost('ipset save'),
  sysctls: `grep -sH '' ${sysctls.map((path) => `/proc/sys/${path}`).join(' ')} || true`,
  conntrack: '$conntrack -S',
  counters: 'cat /proc/net/snmp /proc/net/netstat; cat /proc/net/snmp6 2>/dev/null || true',
  sockets: 'cat /proc/net/sockstat',
  listeners: '$ss -Htulpn',
  programs: 'head -c 200 /proc/[0-9]*/cmdline 2>/dev/null || true',
  cni: 'cd /proc/1/root/etc/cni/net.d && for f in *.conf *.conflist *.json; do [ -e "$f" ] && echo "==> $f <==" && cat "$f" && echo; done; true',
};

/** What is read in each network namespace of a pod. */
const podSections: Readonly<Record<string, string>> = {
  cgroup: 'cat /proc/$pid/cgroup',
  links: 'nsenter -t $pid -n -- $ip -j -d -s address show',
  routes4: 'nsenter -t $pid -n -- $ip -j -d -4 route show',
  routes6: 'nsenter -t $pid -n -- $ip -j -d -6 route show',
  neighbours4: 'nsenter -t $pid -n -- $ip -j -4 neigh show nud all',
  neighbours6: 'nsenter -t $pid -n -- $ip -j -6 neigh show nud all',
  listeners: 'nsenter -t $pid -n -- $ss -Htuln',
  counters: 'cat /proc/$pid/net/snmp /proc/$pid/net/netstat',
};

export interface ScriptOptions {
  /** Letters and digits that appear nowhere in the answer otherwise. */
  readonly nonce: string;
  /** Whether to look into the network namespaces of pods as well. */
  readonly pods: boolean;
}

/** Its answer is compressed: the rules of many Services are megabytes. */
export function nodeScript({ nonce, pods }: ScriptOptions): string {
  const run = (name: string, command: string): string =>
    `section ${name} '${command.replaceAll("'", String.raw`'\''`)}'`;
  return `
export ${programs.map((name) => `${name}="$(which ${name} || echo ${name})"`).join(' ')}
errors="$(mktemp 2>/dev/null || echo /dev/null)"
section() {
  printf '@@${nonce} begin %s\\n' "$1"
  sh -c "$2" 2>"$errors" </dev/null
  code=$?
  words=
  [ -s "$errors" ] && words="$(head -c 1000 "$errors" | tr '\\n' ' ')"
  printf '\\n@@${nonce} end %s %s\\n' $code "$words"
}
everything() {
${run('clock-first', 'adjtimex')}
${Object.entries(sections)
  .map(([name, command]) => run(name, command))
  .join('\n')}
${pods ? podLoop(nonce, run) : ''}
${run('clock-last', 'adjtimex')}
rm -f "$errors"
}
everything | gzip -1
`;
}

/** One process per namespace, the one of lowest number; the node's own namespace is left out. */
function podLoop(nonce: string, run: (name: string, command: string) => string): string {
  return `
own="$(readlink /proc/self/ns/net)"
ls -l /proc/[0-9]*/ns/net 2>/dev/null | sed -n 's|^.* /proc/\\([0-9]*\\)/ns/net -> \\(net:.*\\)$|\\1 \\2|p' | sort -n |
while read -r pid inode; do
  case " $own $seen " in *" $inode "*) continue ;; esac
  seen="$seen $inode"
  export pid
  printf '@@${nonce} namespace %s %s\\n' "$pid" "$inode"
  ${Object.entries(podSections)
    .map(([name, command]) => run(name, command))
    .join('\n  ')}
done
printf '@@${nonce} node\\n'`;
}

export interface Answer {
  readonly sections: ReadonlyMap<string, Section>;
  readonly namespaces: readonly {
    readonly pid: number;
    readonly inode: string;
    readonly sections: ReadonlyMap<string, Section>;
  }[];
}

/** A section that was cut off has the code -1. */
export function splitAnswer(text: string, nonce: string): Answer {
  const own = new Map<string, Section>();
  const namespaces: { pid: number; inode: string; sections: Map<string, Section> }[] = [];
  const mark = `@@${nonce} `;
  let into = own;
  let open: { name: string; from: number } | undefined;
  const close = (end: number, code: number, message: string): void => {
    if (open !== undefined)
      into.set(open.name, { text: text.slice(open.from, Math.max(open.from, end)), code, message });
    open = undefined;
  };
  for (let at = text.indexOf(mark); at !== -1; at = text.indexOf(mark, at + 1)) {
    const lineEnd = text.indexOf('\n', at);
    const end = lineEnd === -1 ? text.length : lineEnd;
    const [verb = '', first = '', ...rest] = text.slice(at + mark.length, end).split(' ');
    // Cut off before its code, an end says nothing of how the section ended.
    if (verb === 'end' && first !== '') {
      close(at - 1, Number(first), rest.join(' '));
      continue;
    }
    close(at, -1, 'cut off');
    if (verb === 'begin') open = { name: first, from: end + 1 };
    else if (verb === 'node') into = own;
    else if (verb === 'namespace') {
      into = new Map();
      namespaces.push({ pid: Number(first), inode: rest.join(' '), sections: into });
    }
  }
  close(text.length, -1, 'cut off');
  return { sections: own, namespaces };
}
