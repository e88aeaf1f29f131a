// SPDX-License-Identifier: Apache-2.0
// Finds keys that occur twice in one object of a JSON text, which a parsed value no longer shows. Field validation warns
// about them or refuses them.

/** Upstream gives up collecting at this number. */
const MAX_DUPLICATES = 100;

interface Level {
  readonly keys: Set<string> | undefined;
  /** Path of the value that is being read at this level. */
  prefix: string;
  step: string;
  index: number;
  expectKey: boolean;
}

/**
 * Paths of repeated keys, such as `spec.replicas` or `spec.containers[0].image`, in the order of the text.
 * @param text valid JSON; anything else gives a result without meaning.
 */
export function duplicateFields(text: string): string[] {
  const duplicates: string[] = [];
  const levels: Level[] = [];
  for (let at = 0; at < text.length; at++) {
    const level = levels.at(-1);
    switch (text.charCodeAt(at)) {
      case 0x7b: // {
        levels.push({ keys: new Set(), prefix: pathOf(level), step: '', index: 0, expectKey: true });
        break;
      case 0x5b: // [
        levels.push({ keys: undefined, prefix: pathOf(level), step: '', index: 0, expectKey: false });
        break;
      case 0x7d: // }
      case 0x5d: // ]
        levels.pop();
        break;
      case 0x2c: // ,
        if (level?.keys !== undefined) level.expectKey = true;
        else if (level !== undefined) level.index++;
        break;
      case 0x22: {
        const end = endOfString(text, at);
        if (level?.keys !== undefined && level.expectKey) {
          level.expectKey = false;
          level.step = keyOf(text.slice(at, end));
          if (level.keys.has(level.step) && duplicates.length < MAX_DUPLICATES) duplicates.push(pathOf(level));
          level.keys.add(level.step);
        }
        at = end - 1;
        break;
      }
      default:
    }
  }
  return [...new Set(duplicates)];
}

/** Offset behind the closing quote. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text.charCodeAt(at) !== 0x22) at += text.charCodeAt(at) === 0x5c ? 2 : 1;
  return at + 1;
}

function keyOf(quoted: string): string {
  return quoted.includes('\\') ? (JSON.parse(quoted) as string) : quoted.slice(1, -1);
}

function pathOf(level: Level | undefined): string {
  if (level === undefined) return '';
  if (level.keys === undefined) return `${level.prefix}[${level.index}]`;
  return level.prefix === '' ? level.step : `${level.prefix}.${level.step}`;
}
