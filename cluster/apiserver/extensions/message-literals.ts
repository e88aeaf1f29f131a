// SPDX-License-Identifier: Apache-2.0
// Mutations build objects with typed literals, `Object{spec: Object.spec{replicas: 1}}`, which the CEL library does not
// know. They are the same values as maps, `{"spec": {"replicas": 1}}`, and are rewritten to those before it parses them.

const TOKENS =
  /(?<comment>\/\/[^\n]*)|(?<text>[bB]?[rR]?(?:"""[^]*?"""|'''[^]*?''')|[bB]?[rR]"[^"\n]*"|[bB]?[rR]'[^'\n]*'|[bB]?"(?:\\.|[^"\\\n])*"|[bB]?'(?:\\.|[^'\\\n])*')|(?<message>(?:Object(?:\s*\.\s*[A-Za-z_]\w*)*|JSONPatch)\s*\{)|(?<word>[A-Za-z_]\w*)|(?<open>[{[(])|(?<close>[}\])])|(?<comma>,)|(?<space>\s+)|(?<other>[^])/gy;

const ESCAPED: Readonly<Record<string, string>> = { dash: '-', dot: '.', slash: '/', underscores: '__' };

/** @returns the expression with map literals; offsets in errors are those of the result. */
export function withMapLiterals(expression: string): string {
  const open: ('message' | 'other')[] = [];
  let result = '';
  /** Whether the next word names a field of a message. */
  let field = false;
  /** The word before, if it could own what follows: in `x.Object{` it does. */
  let before = '';
  for (const { 0: token, groups = {} } of expression.matchAll(TOKENS)) {
    if (groups['space'] !== undefined || groups['comment'] !== undefined) {
      result += token;
      continue;
    }
    if (groups['message'] !== undefined && before !== '.') {
      result += '{';
      open.push('message');
      field = true;
    } else if (groups['word'] !== undefined && field) {
      result += JSON.stringify(unescape(token));
      field = false;
    } else {
      result += token;
      if (groups['open'] !== undefined || groups['message'] !== undefined) open.push('other');
      else if (groups['close'] !== undefined) open.pop();
      // `?field:` is an optional field.
      field = groups['comma'] !== undefined ? open.at(-1) === 'message' : field && token === '?';
    }
    before = token;
  }
  return result;
}

/** Field names that are no identifiers are written `a__dash__b`; keywords `__in__`. */
function unescape(name: string): string {
  const keyword = /^__([a-z]+)__$/.exec(name);
  if (keyword !== null && ESCAPED[keyword[1] ?? ''] === undefined) return keyword[1] ?? name;
  return name.replace(/__(dash|dot|slash|underscores)__/g, (_, word: string) => ESCAPED[word] ?? '');
}
