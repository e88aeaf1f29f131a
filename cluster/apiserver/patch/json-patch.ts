// SPDX-License-Identifier: Apache-2.0
// RFC 6902, with the answers that kubectl users know for patches that do not fit.
import { applyPatch } from 'rfc6902';
import type { KubeObject } from '../resources/definition.ts';
import { copy } from '../server/json.ts';
import { PatchError } from './patch-error.ts';

const OPERATIONS = new Set(['add', 'remove', 'replace', 'move', 'copy', 'test']);
const REJECTED = 'the server rejected our request due to an error in our request';
/** As upstream; a longer patch is refused before any work is done. */
const MAX_OPERATIONS = 10_000;

type Operations = Parameters<typeof applyPatch>[1];

/**
 * @returns a new object; `original` is left alone.
 * @throws PatchError 400 when the patch is malformed, 413-like 400 when too long, 422 when an operation fails.
 */
export function applyJsonPatch(original: KubeObject, patch: unknown): KubeObject {
  const operations = checkOperations(patch);
  const result = copy(original);
  const errors = applyPatch(result, operations);
  for (const [index, error] of errors.entries()) {
    if (error === null) continue;
    const operation = operations[index];
    const detail =
      error.name === 'TestError'
        ? `testing value ${operation?.path} failed`
        : `${operation?.op} operation does not apply: doc is missing path: ${JSON.stringify(operation?.path)}: missing value`;
    throw new PatchError(422, `${REJECTED}: ${detail}`);
  }
  return result;
}

function checkOperations(patch: unknown): Operations {
  if (!Array.isArray(patch)) {
    throw new PatchError(400, 'json: cannot unmarshal object into Go value of type jsonpatch.Patch');
  }
  if (patch.length > MAX_OPERATIONS) {
    throw new PatchError(
      400,
      `The allowed maximum operations in a JSON patch is ${MAX_OPERATIONS}, got ${patch.length}`,
    );
  }
  for (const item of patch as unknown[]) {
    if (typeof item !== 'object' || item === null || Array.isArray(item)) {
      throw new PatchError(400, 'json: cannot unmarshal a JSON patch operation: each must be an object');
    }
    const { op, path, from } = item as Record<string, unknown>;
    if (typeof op !== 'string' || !OPERATIONS.has(op)) {
      throw new PatchError(422, `${REJECTED}: Unexpected kind: ${String(op)}`);
    }
    if (typeof path !== 'string' || (path !== '' && !path.startsWith('/'))) {
      throw new PatchError(422, `${REJECTED}: ${op} operation has no valid path`);
    }
    if ((op === 'move' || op === 'copy') && typeof from !== 'string') {
      throw new PatchError(422, `${REJECTED}: ${op} operation does not have a from`);
    }
    if ((op === 'add' || op === 'replace') && !('value' in item)) {
      throw new PatchError(422, `${REJECTED}: ${op} operation has no value`);
    }
  }
  return patch as Operations;
}
