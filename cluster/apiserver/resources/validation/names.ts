// SPDX-License-Identifier: Apache-2.0
// Rules of names, keys and values, each returning messages in upstream's wording; no messages means valid.

/** A rule of `metadata.name`. With `prefix` the text is a generateName, whose trailing dash is fine. */
export type NameRule = (name: string, prefix: boolean) => string[];

const label1123 = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const label1035 = '[a-z]([-a-z0-9]*[a-z0-9])?';
const subdomain1123 = `${label1123}(\\.${label1123})*`;
const qualified = '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]';
const labelText = `(${qualified})?`;
const configKeyText = '[-._a-zA-Z0-9]+';

const label1123Pattern = anchored(label1123);
const label1035Pattern = anchored(label1035);
const subdomainPattern = anchored(subdomain1123);
const qualifiedPattern = anchored(qualified);
const labelPattern = anchored(labelText);
const configKeyPattern = anchored(configKeyText);
const environmentPattern = /^[ -<>-~]+$/;

const label1123Message = `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character${examples(label1123, ['my-name', '123-abc'])}`;
const label1035Message = `a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character${examples(label1035, ['my-name', 'abc-123'])}`;
const subdomainMessage = `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character${examples(subdomain1123, ['example.com'])}`;
const qualifiedMessage = `must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character${examples(qualified, ['MyName', 'my.name', '123-abc'])}`;
const labelMessage = `a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character${examples(labelText, ['MyValue', 'my_value', '12345'])}`;
const configKeyMessage = `a valid config key must consist of alphanumeric characters, '-', '_' or '.'${examples(configKeyText, ['key.name', 'KEY_NAME', 'key-name'])}`;

export const dnsLabelName: NameRule = (name, prefix) => dnsLabel(prefix ? withoutDash(name) : name);
export const dns1035Name: NameRule = (name, prefix) => dns1035Label(prefix ? withoutDash(name) : name);
export const dnsSubdomainName: NameRule = (name, prefix) => dnsSubdomain(prefix ? withoutDash(name) : name);

/** Names that only have to be one segment of a path, as RBAC objects have (`system:node`). */
export const pathSegmentName: NameRule = (name, prefix) => {
  const found: string[] = [];
  if (!prefix && (name === '.' || name === '..')) {
    found.push(`may not be '${name}'`);
  }
  for (const character of ['/', '%']) {
    if (name.includes(character)) {
      found.push(`may not contain '${character}'`);
    }
  }
  return found;
};

export function dnsLabel(value: string): string[] {
  return limited(value, 63, label1123Pattern, label1123Message);
}

export function dns1035Label(value: string): string[] {
  return limited(value, 63, label1035Pattern, label1035Message);
}

export function dnsSubdomain(value: string): string[] {
  return limited(value, 253, subdomainPattern, subdomainMessage);
}

export function labelValue(value: string): string[] {
  return limited(value, 63, labelPattern, labelMessage);
}

/** Label keys, annotation keys, finalizers, taint keys: `[prefix/]name`. */
export function qualifiedName(value: string): string[] {
  const slash = value.indexOf('/');
  const name = slash < 0 ? value : value.slice(slash + 1);
  if (name.includes('/')) {
    return [
      `a qualified name ${qualifiedMessage} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`,
    ];
  }
  const found: string[] = [];
  if (slash === 0) {
    found.push('prefix part must be non-empty');
  } else if (slash > 0) {
    found.push(...dnsSubdomain(value.slice(0, slash)).map((message) => `prefix part ${message}`));
  }
  if (name === '') {
    found.push('name part must be non-empty');
  } else if (name.length > 63) {
    found.push(`name part ${longest(63)}`);
  }
  if (!qualifiedPattern.test(name)) {
    found.push(`name part ${qualifiedMessage}`);
  }
  return found;
}

/** A key of a ConfigMap or Secret. */
export function configKey(value: string): string[] {
  const found = limited(value, 253, configKeyPattern, configKeyMessage);
  if (value === '.') {
    found.push("must not be '.'");
  } else if (value.startsWith('..')) {
    found.push(value === '..' ? "must not be '..'" : "must not start with '..'");
  }
  return found;
}

export function environmentName(value: string): string[] {
  return environmentPattern.test(value)
    ? []
    : ["a valid environment variable name must consist only of printable ASCII characters other than '='"];
}

/** A port's name, as IANA allows service names. */
export function portName(value: string): string[] {
  const found: string[] = [];
  if (value.length > 15) {
    found.push(longest(15));
  }
  if (!/^[-a-z0-9]+$/.test(value)) {
    found.push('must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)');
  }
  if (!/[a-z]/.test(value)) {
    found.push('must contain at least one letter (a-z)');
  }
  if (value.includes('--')) {
    found.push('must not contain consecutive hyphens');
  }
  if (value.startsWith('-') || value.endsWith('-')) {
    found.push('must not begin or end with a hyphen');
  }
  return found;
}

/** `*.example.com`. */
export function wildcardSubdomain(value: string): string[] {
  if (!value.startsWith('*.')) {
    return ["a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain"];
  }
  return dnsSubdomain(value.slice(2));
}

function withoutDash(name: string): string {
  return name.length > 1 && name.endsWith('-') ? `${name.slice(0, -2)}a` : name;
}

function limited(value: string, most: number, pattern: RegExp, message: string): string[] {
  const found: string[] = [];
  if (value.length > most) {
    found.push(longest(most));
  }
  if (!pattern.test(value)) {
    found.push(message);
  }
  return found;
}

function longest(most: number): string {
  return `must be no more than ${most} bytes`;
}

function anchored(source: string): RegExp {
  return new RegExp(`^(?:${source})$`);
}

function examples(source: string, values: readonly string[]): string {
  const list = values.map((value) => `'${value}', `).join(' or ');
  return ` (e.g. ${list}regex used for validation is '${source}')`;
}
