// SPDX-License-Identifier: Apache-2.0
// Regular expressions of Kubernetes objects are Go's RE2; this makes JavaScript ones of them.

const POSIX: Readonly<Record<string, string>> = {
  alnum: '0-9A-Za-z',
  alpha: 'A-Za-z',
  digit: '0-9',
  lower: 'a-z',
  upper: 'A-Z',
  space: '\\s',
  punct: '!-\\/:-@\\[-`{-~',
  word: '\\w',
  xdigit: '0-9A-Fa-f',
};
const FLAGS = /^\(\?([ims]+)\)/;

const compiled = new Map<string, RegExp>();

/** @throws SyntaxError when the pattern is none, or uses what JavaScript lacks. */
export function patternOf(pattern: string): RegExp {
  let expression = compiled.get(pattern);
  if (expression === undefined) {
    const source = translate(pattern);
    try {
      expression = new RegExp(source, 'u');
    } catch {
      // Unicode mode refuses needless escapes such as `\-`, which RE2 allows.
      expression = new RegExp(source);
    }
    compiled.set(pattern, expression);
  }
  return expression;
}

/** Names of groups, ends of text, POSIX classes, and flags that hold until the end of their group. */
function translate(pattern: string): string {
  let result = '';
  let inClass = false;
  // For each open group, how many groups for flags were opened in it.
  const open = [0];
  let at = 0;
  while (at < pattern.length) {
    const rest = pattern.slice(at);
    const posix = inClass ? /^\[:(\w+):\]/.exec(rest) : null;
    const flags = inClass ? null : FLAGS.exec(rest);
    let token = rest.charAt(0);
    let replacement = token;
    if (token === '\\') {
      token = rest.slice(0, 2);
      replacement = token === '\\z' ? '$' : token === '\\A' ? '^' : token;
    } else if (posix !== null) {
      token = posix[0];
      replacement = POSIX[posix[1] ?? ''] ?? token;
    } else if (flags !== null) {
      token = flags[0];
      replacement = `(?${flags[1]}:`;
      open[open.length - 1] = (open.at(-1) ?? 0) + 1;
    } else if (!inClass && rest.startsWith('(?P<')) {
      token = '(?P<';
      replacement = '(?<';
      open.push(0);
    } else if (!inClass && token === '(') {
      open.push(0);
    } else if (!inClass && token === ')') {
      replacement = ')'.repeat(1 + (open.pop() ?? 0));
    } else if (token === '[' && !inClass) {
      inClass = true;
      // A bracket right behind the opening one is an ordinary member.
      const first = /^\[\^?\]/.exec(rest);
      if (first !== null) {
        token = first[0];
        replacement = `${token.slice(0, -1)}\\]`;
      }
    } else if (token === ']') {
      inClass = false;
    }
    result += replacement;
    at += token.length;
  }
  return result + ')'.repeat(open[0] ?? 0);
}
