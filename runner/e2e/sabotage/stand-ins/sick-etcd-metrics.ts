// SPDX-License-Identifier: Apache-2.0
/**
 * What a sick etcd would say of itself: passes /health and /metrics of the real one on with figures changed. Listens on port 12381 of the
 * control-plane node; the node's rules lead port 2381 here, except for this process, which is recognised by its user.
 */
import { createServer } from 'node:http';

/** The user by which the node's rules tell this process's own questions from others'. */
const ownUser = 64_981;
let reads = 0;

const server = createServer((request, response) => {
  void (async () => {
    const reply = await fetch(`http://127.0.0.1:2381${request.url ?? '/'}`);
    const text = await reply.text();
    reads += 1;
    const figures: Readonly<Record<string, number>> = {
      etcd_server_has_leader: 0,
      etcd_server_leader_changes_seen_total: reads,
      etcd_mvcc_db_total_size_in_bytes: 8e12,
      etcd_server_proposals_failed_total: reads,
      etcd_server_proposals_committed_total: 1e9,
    };
    const sick = text.replaceAll(/^(etcd_\w+) \S+$/gm, (line, name: string) =>
      figures[name] === undefined ? line : `${name} ${figures[name]}`,
    );
    response.writeHead(reply.status, { 'content-type': reply.headers.get('content-type') ?? 'text/plain' });
    response.end(sick.replace('"health":"true"', '"health":"false"'));
  })().catch(() => response.destroy());
});
server.listen(12_381, '127.0.0.1', () => process.setuid?.(ownUser));
