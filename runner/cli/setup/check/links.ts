// SPDX-License-Identifier: Apache-2.0
// Links in the documentation: a relative link must lead to a file of the repository, and its anchor to a heading of it.

import { existsSync, globSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

export interface BrokenLink {
  readonly file: string;
  readonly link: string;
  readonly reason: string;
}

export function brokenLinks(root: string): BrokenLink[] {
  const files = globSync('**/*.md', {
    cwd: root,
    exclude: (path) => /^(node_modules|\.plumb|results)(\/|$)/.test(path),
  });
  return files.flatMap((file) =>
    linksOf(readFileSync(join(root, file), 'utf8')).flatMap((link): BrokenLink[] => {
      const reason = judgeLink(root, file, link);
      return reason === undefined ? [] : [{ file, link, reason }];
    }),
  );
}

/** Targets of inline links and images, those in code left out. */
export function linksOf(markdown: string): string[] {
  const text = markdown.replaceAll(/^(```|~~~)[\s\S]*?^\1/gm, '').replaceAll(/`[^`\n]*`/g, '');
  return [...text.matchAll(/\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)/g)].map((match) => match[1] ?? '');
}

/** The anchor that GitHub gives a heading. */
export function anchorOf(heading: string): string {
  return heading
    .trim()
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(/\s/g, '-');
}

function judgeLink(root: string, file: string, link: string): string | undefined {
  if (/^[a-z][a-z0-9+.-]*:/i.test(link)) return undefined;
  const [path = '', anchor] = link.split('#');
  const target = path === '' ? file : normalize(join(dirname(file), decodeURIComponent(path)));
  if (!existsSync(join(root, target))) return 'there is no such file';
  if (anchor === undefined || statSync(join(root, target)).isDirectory() || !target.endsWith('.md')) return undefined;
  const headings = [...readFileSync(join(root, target), 'utf8').matchAll(/^#{1,6}\s+(.*)$/gm)].map((match) =>
    anchorOf(match[1] ?? ''),
  );
  return headings.includes(anchor) ? undefined : `${target} has no heading for it`;
}
