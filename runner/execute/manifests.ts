// SPDX-License-Identifier: Apache-2.0
/** Turns what a case passes to `apply` into objects: YAML, fixtures rendered by handlebars, labels of the run. Pure but for reading fixtures. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { KubernetesObject } from '@kubernetes/client-node';
import Handlebars from 'handlebars';
import { parseAllDocuments } from 'yaml';
import type { Manifest, ManifestSource } from '../../suites/case.ts';

const fixtures = new URL('../../fixtures/manifests/', import.meta.url);

/** Manifests are YAML, not HTML: nothing is escaped; `{{json value}}` writes any value in JSON, which is YAML. */
const handlebars = Handlebars.create();
handlebars.registerHelper('json', (value: unknown) => new Handlebars.SafeString(JSON.stringify(value)));

export function objectsOf(source: ManifestSource): KubernetesObject[] {
  if (typeof source === 'string') return parseManifests(source, 'the given YAML');
  if (isList(source)) return [...source];
  if (!('fixture' in source)) return [source];
  const file = new URL(`${source.fixture}.yaml`, fixtures);
  const template = handlebars.compile(readFileSync(file, 'utf8'), { noEscape: true, strict: true });
  return parseManifests(template(source.values ?? {}), fileURLToPath(file));
}

function isList(source: ManifestSource): source is readonly Manifest[] {
  return Array.isArray(source);
}

function parseManifests(text: string, origin: string): KubernetesObject[] {
  return parseAllDocuments(text).flatMap((document) => {
    const trouble = document.errors[0];
    if (trouble !== undefined) throw new Error(`${origin} is not valid YAML: ${trouble.message}`);
    const value: unknown = document.toJS();
    if (value === null) return [];
    if (!isObjectWithKind(value)) throw new Error(`${origin} contains a document without apiVersion and kind`);
    return [value];
  });
}

function isObjectWithKind(value: unknown): value is KubernetesObject {
  return typeof value === 'object' && value !== null && 'apiVersion' in value && 'kind' in value;
}

/** A copy with the labels on the object and on every pod template in it (`spec.template`, `spec.jobTemplate.spec.template`). */
export function withLabels<T extends KubernetesObject>(object: T, labels: Readonly<Record<string, string>>): T {
  const copy = structuredClone(object);
  addLabels(copy, labels);
  const spec = (copy as { spec?: PodTemplateHolder }).spec;
  for (const holder of [spec, spec?.jobTemplate?.spec]) {
    if (holder?.template?.spec !== undefined) addLabels(holder.template, labels);
  }
  return copy;
}

interface PodTemplateHolder {
  template?: { metadata?: { labels?: Record<string, string> }; spec?: unknown };
  jobTemplate?: { spec?: PodTemplateHolder };
}

function addLabels(
  object: { metadata?: { labels?: { [name: string]: string } } },
  labels: Readonly<Record<string, string>>,
): void {
  object.metadata ??= {};
  object.metadata.labels = { ...object.metadata.labels, ...labels };
}
