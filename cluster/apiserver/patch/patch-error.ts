// SPDX-License-Identifier: Apache-2.0
// What a patch that cannot be applied answers with.

/** `code`, `reason` and `message` of the Status that the client gets. */
export class PatchError extends Error {
  readonly code: number;
  readonly reason: string;

  constructor(code: 400 | 422, message: string) {
    super(message);
    this.code = code;
    this.reason = code === 400 ? 'BadRequest' : 'Invalid';
  }
}
