// SPDX-License-Identifier: Apache-2.0
/** What measurements that need nodes get from whoever can start node probes: the command line, or the fleet of a run. */
import type { NodeState } from '../node-state/node-state.ts';
import type { NodeSession } from './node-session.ts';

export interface NodeAccess {
  /** One session per node, opened when first asked for. Errors: ProbeError saying why there is none. */
  session(node: string): Promise<NodeSession>;
  /** The node's network as it is now. */
  state(node: string): Promise<NodeState>;
}
