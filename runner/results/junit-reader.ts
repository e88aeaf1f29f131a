// SPDX-License-Identifier: Apache-2.0
/**
 * Reads JUnit XML, of any writer, into the Item tree, for archives that hold nothing else: Sonobuoy before 0.15, Hydrophone, plain CI artefacts.
 * Only what JUnit uses of XML is understood (elements, attributes, text, CDATA, entities); no DTD, no external entity, hence nothing to attack.
 */
import type { ItemNode } from './item-tree.ts';

interface Element {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  text: string;
  readonly children: Element[];
}

/** The file as an item of type file, with its suites and cases below. Throws an Error that says what is wrong with the XML. */
export function readJunit(xml: string, file: string): ItemNode {
  const root = parseXml(xml);
  if (root.name !== 'testsuites' && root.name !== 'testsuite') throw new Error(`it is <${root.name}>, not JUnit`);
  const suites = root.name === 'testsuite' ? [root] : root.children.filter((child) => child.name === 'testsuite');
  const items = suites.map((suite, index) => {
    const cases = suite.children.filter((child) => child.name === 'testcase').map(caseItem);
    return node(suite.attributes['name'] || `testsuite-${String(index + 1).padStart(3, '0')}`, { items: cases });
  });
  return node(file.split('/').at(-1) ?? file, { items, meta: { file, type: 'file' } });
}

function caseItem(element: Element): ItemNode {
  const child = (name: string): Element | undefined => element.children.find((one) => one.name === name);
  const trouble = child('failure') ?? child('error');
  const skipped = child('skipped');
  const status = skipped !== undefined ? 'skipped' : trouble !== undefined ? 'failed' : 'passed';
  const text = [trouble?.attributes['message'] ?? '', trouble?.text ?? ''].join(' ').trim();
  return {
    name: element.attributes['name'] ?? '',
    status,
    meta: {},
    details: text === '' ? {} : { [trouble?.name ?? 'failure']: text },
    items: [],
  };
}

function node(
  name: string,
  parts: { readonly items: readonly ItemNode[]; readonly meta?: Readonly<Record<string, string>> },
): ItemNode {
  const statuses = parts.items.map((item) => item.status);
  const status = statuses.includes('failed')
    ? 'failed'
    : statuses.length === 0 || statuses.includes('unknown')
      ? 'unknown'
      : 'passed';
  return { name, status, meta: parts.meta ?? {}, details: {}, items: parts.items };
}

const depthMax = 64;
const token =
  /<!--[\s\S]*?-->|<!\[CDATA\[([\s\S]*?)\]\]>|<\?[\s\S]*?\?>|<!(?!--|\[CDATA)[^>]*>|<(\/?)([A-Za-z_][\w.:-]*)((?:[^>"']|"[^"]*"|'[^']*')*?)(\/?)>|([^<]+)/y;

function parseXml(xml: string): Element {
  const document: Element = { name: '', attributes: {}, text: '', children: [] };
  const open = [document];
  token.lastIndex = 0;
  while (token.lastIndex < xml.length) {
    const at = token.lastIndex;
    const match = token.exec(xml);
    if (match === null) throw new Error(`it is not XML at character ${at}: ${xml.slice(at, at + 30)}`);
    const [, cdata, closing, name, attributes, empty, text] = match;
    const current = open.at(-1) ?? document;
    if (cdata !== undefined) current.text += cdata;
    else if (text !== undefined) current.text += unescapeXml(text);
    else if (closing === '/') {
      if (current.name !== name || open.length === 1) throw new Error(`</${name}> closes <${current.name}>`);
      open.pop();
    } else if (name !== undefined) {
      const element: Element = { name, attributes: parseAttributes(attributes ?? ''), text: '', children: [] };
      current.children.push(element);
      if (empty !== '/') open.push(element);
      if (open.length > depthMax) throw new Error(`it is nested deeper than ${depthMax}`);
    }
  }
  const root = document.children[0];
  if (open.length !== 1 || root === undefined)
    throw new Error(root === undefined ? 'it has no element' : `<${open.at(-1)?.name}> is not closed`);
  return root;
}

function parseAttributes(text: string): Record<string, string> {
  const found = text.matchAll(/([A-Za-z_][\w.:-]*)\s*=\s*(?:"([^"]*)"|'([^']*)')/g);
  return Object.fromEntries([...found].map(([, name, double, single]) => [name, unescapeXml(double ?? single ?? '')]));
}

const entities: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

function unescapeXml(text: string): string {
  return text.replaceAll(
    /&(?:#x([0-9a-fA-F]{1,6})|#(\d{1,7})|(\w+));/g,
    (whole, hex: string, decimal: string, name: string) => {
      if (name !== undefined) return entities[name] ?? whole;
      const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
      return code <= 0x10ffff ? String.fromCodePoint(code) : '\ufffd';
    },
  );
}
