// SPDX-License-Identifier: Apache-2.0
/** Why kernels threw packets away: the tracepoint skb:kfree_skb, read from an instance of tracefs of our own. */
import type { KernelDrop, Sighting } from './observations.ts';

/** Instances of tracers that were killed are removed after this time. Nodes on one machine share a kernel, so that younger ones may be in use. */
const abandonedSeconds = 3600;

/** With the time in it, for whoever has to remove it. */
export function instanceName(nowMs: number, random: string): string {
  return `plumb-${Math.floor(nowMs / 1000)}-${random}`;
}

/**
 * A shell script that prints events until it is interrupted, and then removes its instance. Reasons that only say that a packet came to its
 * end in order, or that nobody has a name for, are not asked for.
 */
export function dropScript(instance: string): string {
  return `
dir="$(mktemp -d)" && mount -t tracefs none "$dir" || exit 3
now=$(date +%s)
for old in "$dir"/instances/plumb-*; do
  made="\${old##*/plumb-}"; made="\${made%%-*}"
  case "$made" in ''|*[!0-9]*) continue ;; esac
  [ $((now - made)) -gt ${abandonedSeconds} ] 2>/dev/null && rmdir "$old" 2>/dev/null
done
mkdir "$dir/instances/${instance}" || exit 4
cd "$dir/instances/${instance}"
trap 'kill $reader 2>/dev/null' INT TERM
echo mono >trace_clock
echo '(protocol == 0x800 || protocol == 0x86dd) && reason > 2' >events/skb/kfree_skb/filter || exit 5
echo 1 >events/skb/kfree_skb/enable
echo ready >&2
cat trace_pipe & reader=$!
wait $reader
echo 0 >events/skb/kfree_skb/enable
cd /
for turn in 1 2 3 4 5 6 7 8 9 10; do rmdir "$dir/instances/${instance}" 2>/dev/null && break; sleep 0.05; done
umount "$dir" && rmdir "$dir"
`;
}

const notDrops = new Set([
  'NOT_SPECIFIED',
  'NO_SOCKET',
  'SOCKET_CLOSE',
  'UNIX_DISCONNECT',
  'QUEUE_PURGE',
  'OTHERHOST',
  'TCP_OLD_ACK',
  'TCP_CLOSE',
  'TCP_RESET',
]);

/** @param bootSeconds what to add to the kernel's monotonic clock for seconds since 1970, by the host's clock. */
export function parseDrops(text: string, node: string, bootSeconds: number): KernelDrop[] {
  const drops: KernelDrop[] = [];
  for (const line of text.split('\n')) {
    const match = /\s(\d+\.\d+): kfree_skb: .*location=(\S+) reason: (\w+)/.exec(line);
    const reason = match?.[3] ?? '';
    if (match === null || notDrops.has(reason)) continue;
    drops.push({ node, seconds: Number(match[1]) + bootSeconds, reason, at: (match[2] ?? '').replace(/\/0x.*$/, '') });
  }
  return drops;
}

/** A packet that vanished is thrown away within this time after it was seen. */
const soonSeconds = 0.003;

/**
 * The kernel does not say which packet it was. Where every transmission that was seen last at some place was followed by the same reason at the
 * same function, and nothing else was, that is taken for it.
 */
export function dropsAfter(drops: readonly KernelDrop[], last: readonly Sighting[]): KernelDrop[] {
  if (last.length === 0) return [];
  const following = last.map(({ seconds, place }) =>
    drops.filter(
      (drop) => drop.node === place.node && drop.seconds >= seconds - 0.0005 && drop.seconds <= seconds + soonSeconds,
    ),
  );
  const [first = [], ...rest] = following;
  return first.filter(
    (drop, index) =>
      rest.every((later) => later.some(({ reason, at }) => reason === drop.reason && at === drop.at)) &&
      first.findIndex(({ reason, at }) => reason === drop.reason && at === drop.at) === index,
  );
}
