// SPDX-License-Identifier: Apache-2.0
// Answers load balancers on each Service's healthCheckNodePort: 200 where this node has endpoints of its own for the
// Service, 503 where traffic sent here would be dropped (externalTrafficPolicy Local).

import { createServer } from 'node:http';
import type { Server } from 'node:http';

export interface HealthCheck {
  readonly namespace: string;
  readonly name: string;
  readonly port: number;
  readonly localEndpoints: number;
}

export class ServiceHealthServer {
  readonly #servers = new Map<number, { readonly server: Server; check: HealthCheck }>();
  readonly #healthy: () => boolean;
  readonly #onError: (message: string, error: Error) => void;

  constructor(healthy: () => boolean, onError: (message: string, error: Error) => void) {
    this.#healthy = healthy;
    this.#onError = onError;
  }

  /** Listens on exactly the ports of `checks`. */
  sync(checks: readonly HealthCheck[]): void {
    const wanted = new Map(checks.map((check) => [check.port, check]));
    for (const [port, { server }] of this.#servers) {
      if (wanted.has(port)) continue;
      this.#servers.delete(port);
      server.close();
      server.closeAllConnections();
    }
    for (const [port, check] of wanted) {
      const running = this.#servers.get(port);
      if (running !== undefined) running.check = check;
      else this.#listen(port, check);
    }
  }

  close(): void {
    this.sync([]);
  }

  #listen(port: number, check: HealthCheck): void {
    const entry = { server: createServer(), check };
    entry.server.on('request', (_request, response) => {
      const { namespace, name, localEndpoints } = entry.check;
      const healthy = this.#healthy();
      response.writeHead(localEndpoints > 0 && healthy ? 200 : 503, {
        'content-type': 'application/json',
        'x-content-type-options': 'nosniff',
        'x-load-balancing-endpoint-weight': String(localEndpoints),
      });
      response.end(
        JSON.stringify({ service: { namespace, name }, localEndpoints, serviceProxyHealthy: healthy }, undefined, '\t'),
      );
    });
    entry.server.on('error', (error) => {
      this.#servers.delete(port);
      this.#onError(`cannot serve health checks of ${check.namespace}/${check.name} on port ${port}`, error);
    });
    entry.server.listen(port);
    this.#servers.set(port, entry);
  }
}
