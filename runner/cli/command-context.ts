// SPDX-License-Identifier: Apache-2.0
/** What every verb gets from main.ts. */
export interface CommandContext {
  readonly version: string;
  /** Called once, with the exit code. */
  readonly finish: (code: number) => void;
}
