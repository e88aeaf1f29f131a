// SPDX-License-Identifier: Apache-2.0
// Rules of resource names, quantities, requests and limits.
import type { ResourceList, ResourceRequirements } from '../../../machinery/api-types.ts';
import { compare, isQuantity, parseQuantity } from '../../../machinery/quantities.ts';
import type { FieldError } from '../definition.ts';
import { invalid, messages, required } from './fields.ts';
import { qualifiedName } from './names.ts';

const containerResources = new Set(['cpu', 'memory', 'ephemeral-storage']);
const nano = 1_000_000_000n;

/** True for `example.com/gpu`; names below kubernetes.io and `requests.` are not extended. */
export function isExtendedResource(name: string): boolean {
  return name.includes('/') && !/^([^/]*\.)?kubernetes\.io\//.test(name) && !name.startsWith('requests.');
}

export function validateQuantity(value: string, path: string): FieldError[] {
  if (!isQuantity(value)) {
    return [
      invalid(
        path,
        value,
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
      ),
    ];
  }
  return parseQuantity(value) < 0n ? [invalid(path, value, 'must be greater than or equal to 0')] : [];
}

/** Amounts of a node, a quota or a limit range: valid quantities of validly named resources. */
export function validateResourceList(list: ResourceList | undefined, path: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const [name, value] of Object.entries(list ?? {})) {
    errors.push(...messages(path, name, qualifiedName(name)), ...validateQuantity(value, `${path}[${name}]`));
  }
  return errors;
}

/** Requests and limits of a container (or of a pod, whose claims are not looked at). */
export function validateResourceRequirements(
  resources: ResourceRequirements | undefined,
  path: string,
  claimNames: ReadonlySet<string> = new Set(),
): FieldError[] {
  if (resources === undefined) {
    return [];
  }
  const errors: FieldError[] = [];
  const { limits = {}, requests = {} } = resources;
  for (const [name, value] of Object.entries(limits)) {
    errors.push(...validateAmount(name, value, `${path}.limits`));
  }
  for (const [name, value] of Object.entries(requests)) {
    const found = validateAmount(name, value, `${path}.requests`);
    errors.push(...found);
    const limit = limits[name];
    if (found.length > 0) {
      continue;
    }
    if (limit !== undefined && isQuantity(limit)) {
      if (!overcommitable(name) && compare(value, limit) !== 0) {
        errors.push(invalid(`${path}.requests`, value, `must be equal to ${name} limit of ${limit}`));
      } else if (compare(value, limit) > 0) {
        errors.push(invalid(`${path}.requests`, value, `must be less than or equal to ${name} limit of ${limit}`));
      }
    } else if (!overcommitable(name)) {
      errors.push(required(`${path}.limits`, 'Limit must be set for non overcommitable resources'));
    }
  }
  const hugePages = [...Object.keys(limits), ...Object.keys(requests)].some((name) => name.startsWith('hugepages-'));
  const hasBasics = [limits, requests].some((list) => list['cpu'] !== undefined || list['memory'] !== undefined);
  if (hugePages && !hasBasics) {
    errors.push({ type: 'Forbidden', field: path, detail: 'HugePages require cpu or memory' });
  }
  for (const [index, claim] of (resources.claims ?? []).entries()) {
    if (claim.name === '') {
      errors.push(required(`${path}.claims[${index}].name`));
    } else if (!claimNames.has(claim.name)) {
      errors.push({ type: 'Not found', field: `${path}.claims[${index}]`, value: claim.name, detail: '' });
    }
  }
  return errors;
}

function validateAmount(name: string, value: string, path: string): FieldError[] {
  const at = `${path}[${name}]`;
  const errors = messages(path, name, qualifiedName(name));
  if (!name.includes('/') && !containerResources.has(name) && !name.startsWith('hugepages-')) {
    errors.push(invalid(at, name, 'must be a standard resource for containers'));
  }
  const found = validateQuantity(value, at);
  errors.push(...found);
  if (found.length === 0 && isExtendedResource(name) && parseQuantity(value) % nano !== 0n) {
    errors.push(invalid(at, value, 'must be an integer'));
  }
  return errors;
}

function overcommitable(name: string): boolean {
  return !name.startsWith('hugepages-') && !isExtendedResource(name);
}
