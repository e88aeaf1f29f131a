// SPDX-License-Identifier: Apache-2.0
/**
 * A problem of the run itself, not of the cluster under test: what is wrong, with the value that is wrong, and what to do about it. It ends
 * the command with exit code 2 (see cli/exit-code.ts) and is printed without a stack.
 */
export class Problem extends Error {
  override readonly name = 'Problem';
  readonly remedy: string;

  constructor(message: string, remedy: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.remedy = remedy;
  }
}

/** The message of anything that was thrown; for network errors the innermost cause, which is the one that says something. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof AggregateError && error.message === '' && error.errors.length > 0)
    return messageOf(error.errors[0]);
  if (error.cause instanceof Error && /^(fetch failed|terminated)$/.test(error.message)) return messageOf(error.cause);
  return error.message;
}
