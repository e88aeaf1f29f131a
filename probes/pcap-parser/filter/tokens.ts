// SPDX-License-Identifier: Apache-2.0
/** Splits a filter expression into words, numbers, addresses and signs, each with its column. */

export interface Token {
  readonly text: string;
  /** From 1. */
  readonly column: number;
}

/** A mistake in a filter expression. */
export class FilterError extends Error {
  override readonly name = 'FilterError';
  readonly column: number;

  constructor(message: string, column: number) {
    super(message);
    this.column = column;
  }
}

const pattern = /\s+|(&&|\|\||<<|>>|[=!<>]=|[()[\]=<>!&|^+*%])|([A-Za-z0-9_.:/\\-]+)/y;

export function tokensOf(expression: string): Token[] {
  const tokens: Token[] = [];
  pattern.lastIndex = 0;
  while (pattern.lastIndex < expression.length) {
    const at = pattern.lastIndex;
    const match = pattern.exec(expression);
    if (match === null) throw new FilterError(`"${expression.charAt(at)}" has no meaning here`, at + 1);
    const [text, sign, word] = match;
    if (sign !== undefined) tokens.push({ text, column: at + 1 });
    else if (word !== undefined) tokens.push(...inBrackets(word, tokens, at + 1));
  }
  return tokens;
}

/** Within brackets `:` parts offset and size, elsewhere it belongs to addresses; `-` and `/` calculate, elsewhere they belong to words. */
function inBrackets(word: string, before: readonly Token[], column: number): Token[] {
  const opened = before.findLast(({ text }) => text === '[' || text === ']')?.text === '[';
  if (!opened || !/^\d/.test(word)) return [{ text: word, column }];
  return [...word.matchAll(/[:/-]|[^:/-]+/g)].map((match) => ({ text: match[0], column: column + match.index }));
}
