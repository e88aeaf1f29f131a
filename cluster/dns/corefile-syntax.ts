// SPDX-License-Identifier: Apache-2.0
// The grammar of a Corefile: server blocks of directives, which may have blocks of their own; quotes, comments, values
// of the environment, snippets and imports. What a directive means is not decided here.

/** A line of a block: its words, and the block that it opens, if any. */
export interface Directive {
  readonly file: string;
  readonly line: number;
  readonly words: readonly string[];
  readonly block: readonly Directive[];
  /** Whether there was a "{", also before an empty block. */
  readonly opens: boolean;
}

/** Where imports and values come from. */
export interface Surroundings {
  /** Name of the file, for errors. */
  readonly file: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The files that an import's pattern means, in order; empty when there are none. */
  readonly read: (pattern: string) => readonly { readonly file: string; readonly text: string }[];
}

export class CorefileError extends Error {
  override readonly name = 'CorefileError';
}

/** Throws what is wrong and where: `Corefile:LINE: message`. */
export function fail({ file, line }: Pick<Directive, 'file' | 'line'>, message: string): never {
  throw new CorefileError(`${file}:${line}: ${message}`);
}

/** Files that import each other deeper than this do so in a circle. */
const deepestImport = 16;

interface Token {
  readonly file: string;
  readonly line: number;
  readonly text: string;
  /** Quoted braces are words. */
  readonly quoted: boolean;
}

/** The server blocks; each is a directive whose words are its keys. Errors: CorefileError. */
export function parseBlocks(text: string, surroundings: Surroundings): Directive[] {
  const snippets = new Map<string, readonly Directive[]>();
  const blocks: Directive[] = [];
  for (const directive of expand(text, { surroundings, snippets, depth: 0 })) {
    const name = /^\((.+)\)$/.exec(directive.words[0] ?? '')?.[1];
    if (name === undefined) blocks.push(directive);
    else if (directive.words.length > 1) fail(directive, `the snippet (${name}) must stand alone before "{"`);
    else if (snippets.has(name)) fail(directive, `the snippet (${name}) is there twice`);
    else snippets.set(name, directive.block);
  }
  return blocks;
}

interface Expansion {
  readonly surroundings: Surroundings;
  readonly snippets: ReadonlyMap<string, readonly Directive[]>;
  readonly depth: number;
}

/** Snippets are known from their definition on, so top-level directives are handed out one by one. */
function* expand(text: string, expansion: Expansion): Generator<Directive> {
  const { surroundings } = expansion;
  for (const directive of readDirectives(tokenize(text, surroundings))) {
    yield* imported(directive, expansion);
  }
}

function* imported(directive: Directive, expansion: Expansion): Generator<Directive> {
  const { surroundings, snippets, depth } = expansion;
  if (directive.words[0] !== 'import') {
    yield { ...directive, block: directive.block.flatMap((inner) => [...imported(inner, expansion)]) };
    return;
  }
  const [, name] = directive.words;
  if (name === undefined || directive.words.length > 2) fail(directive, 'import needs one snippet or file');
  const snippet = snippets.get(name);
  if (snippet !== undefined) {
    yield* snippet;
    return;
  }
  if (depth >= deepestImport) fail(directive, `import ${name}: files import each other in a circle`);
  const files = surroundings.read(name);
  if (files.length === 0 && !name.includes('*')) fail(directive, `import ${name}: no such snippet or file`);
  for (const { file, text } of files) {
    yield* expand(text, { surroundings: { ...surroundings, file }, snippets, depth: depth + 1 });
  }
}

function tokenize(text: string, { file, environment }: Surroundings): Token[][] {
  const lines: Token[][] = [];
  let current: Token[] = [];
  let line = 1;
  let position = 0;
  const endLine = (): void => {
    if (current.length > 0) lines.push(current);
    current = [];
  };
  const value = (word: string): string =>
    word.replaceAll(/\{\$([A-Za-z_][A-Za-z0-9_]*)\}|\{%([A-Za-z_][A-Za-z0-9_]*)%\}/g, (_, dollar, percent) => {
      return environment[String(dollar ?? percent)] ?? '';
    });
  while (position < text.length) {
    const char = text.charAt(position);
    if (char === '\n') {
      endLine();
      line++;
      position++;
    } else if (/\s/.test(char)) {
      position++;
    } else if (char === '#') {
      const end = text.indexOf('\n', position);
      position = end < 0 ? text.length : end;
    } else if (char === '"') {
      const match = /"((?:[^"\\]|\\[\s\S])*)"/y;
      match.lastIndex = position;
      const quoted = match.exec(text);
      if (quoted === null) return fail({ file, line }, 'this quote is not closed');
      // Only a quote can be escaped: other backslashes are those of regular expressions.
      current.push({ file, line, text: value((quoted[1] ?? '').replaceAll('\\"', '"')), quoted: true });
      line += (quoted[0].match(/\n/g) ?? []).length;
      position += quoted[0].length;
    } else {
      const word = /\S+/y;
      word.lastIndex = position;
      const found = word.exec(text)?.[0] ?? char;
      current.push({ file, line, text: value(found), quoted: false });
      position += found.length;
    }
  }
  endLine();
  return lines;
}

function readDirectives(lines: readonly Token[][]): Directive[] {
  const root: Directive[] = [];
  const open: { readonly directive: Directive; readonly into: Directive[] }[] = [];
  for (const tokens of lines) {
    const [first] = tokens;
    if (first === undefined) continue;
    const { file, line } = first;
    if (isBrace(first, '}')) {
      if (open.pop() === undefined) fail(first, 'unexpected "}"');
      if (tokens.length > 1) fail(first, `"${tokens[1]?.text}" must start a line of its own after "}"`);
      continue;
    }
    const opens = isBrace(tokens.at(-1), '{');
    const words = opens ? tokens.slice(0, -1) : tokens;
    const stray = words.find((token) => isBrace(token, '{') || isBrace(token, '}'));
    if (stray !== undefined) {
      fail(stray, `"${stray.text}" must ${stray.text === '{' ? 'end its line' : 'stand on a line of its own'}`);
    }
    if (words.length === 0) fail(first, '"{" without anything before it');
    const block: Directive[] = [];
    const directive: Directive = { file, line, words: words.map((token) => token.text), block, opens };
    (open.at(-1)?.into ?? root).push(directive);
    if (opens) open.push({ directive, into: block });
  }
  const unclosed = open.at(-1);
  if (unclosed !== undefined) fail(unclosed.directive, 'this block has no closing "}"');
  return root;
}

function isBrace(token: Token | undefined, brace: '{' | '}'): boolean {
  return token !== undefined && !token.quoted && token.text === brace;
}
