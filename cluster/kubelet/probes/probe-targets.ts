// SPDX-License-Identifier: Apache-2.0
// Resolves a port by number or name. Pure.
import type { Container } from '../../machinery/api-types.ts';

/** Errors: a name that the container doesn't declare, a number that is no port. */
export function portNumber(port: number | string, container: Pick<Container, 'name' | 'ports'>): number {
  if (typeof port === 'string' && !/^\d+$/.test(port)) {
    const named = container.ports?.find((candidate) => candidate.name === port);
    if (named === undefined)
      throw new Error(`couldn't find port: ${JSON.stringify(port)} in container ${container.name}`);
    return named.containerPort;
  }
  const number = Number(port);
  if (number < 1 || number > 65_535) throw new Error(`invalid port number: ${port}`);
  return number;
}
