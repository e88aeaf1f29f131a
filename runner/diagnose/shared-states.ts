// SPDX-License-Identifier: Apache-2.0
/** Several traces at once look at the same nodes: whoever asks for a node's state while one is being read gets the next one, together with all others. */
import type { NodeAccess } from '../../probes/node-session/node-access.ts';
import type { NodeState } from '../../probes/node-state/node-state.ts';

/** Each state that is handed out was read after it was asked for. */
export function sharedStates(access: Pick<NodeAccess, 'session' | 'state'>): NodeAccess {
  const reading = new Map<string, Promise<unknown>>();
  const waiting = new Map<string, Promise<NodeState>>();
  return {
    session: (node) => access.session(node),
    state: (node) => {
      const joined = waiting.get(node);
      if (joined !== undefined) return joined;
      const before = reading.get(node) ?? Promise.resolve();
      // Those who ask in the same turn are served by one reading.
      const next = before
        .then(() => new Promise((resolve) => setImmediate(resolve)))
        .then(() => {
          waiting.delete(node);
          const state = access.state(node);
          reading.set(
            node,
            state.catch(() => undefined),
          );
          return state;
        });
      waiting.set(node, next);
      return next;
    },
  };
}
