// SPDX-License-Identifier: Apache-2.0
/** Reads fields of JSON of which nothing is known: a field of another type than expected counts as absent. */
export type JsonObject = Readonly<Record<string, unknown>>;

export function objectOf(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {};
}

export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function objectsOf(value: unknown): JsonObject[] {
  return listOf(value).map(objectOf);
}

export function textsOf(value: unknown): string[] {
  return listOf(value).filter((one) => typeof one === 'string');
}

export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

export function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

/** JSON where the text is some; an empty text is an empty list, as the tools print nothing where there is nothing. */
export function parseJsonList(text: string): JsonObject[] {
  return text.trim() === '' ? [] : objectsOf(JSON.parse(text));
}
