// SPDX-License-Identifier: Apache-2.0
// `npm run generate -- --source DIR`: reads unpacked Kubernetes Go packages (DIR holds `k8s.io/api` and
// `k8s.io/apimachinery`, as Debian's golang-k8s-*-dev packages install them) and writes the committed schema data and
// cluster/machinery/api-types.ts. The same input gives the same bytes.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { SchemaData } from '../data.ts';
import { emitSchema } from './emit-schema.ts';
import { emitTypeScript } from './emit-typescript.ts';
import { extraPackages } from './extra-types.ts';
import type { GoPackage } from './go-types.ts';
import { parseGoPackage } from './go-types.ts';

/** In order of precedence for TypeScript names. */
const PACKAGES = [
  'k8s.io/apimachinery/pkg/apis/meta/v1',
  'k8s.io/api/core/v1',
  'k8s.io/api/apps/v1',
  'k8s.io/api/batch/v1',
  'k8s.io/api/networking/v1',
  'k8s.io/api/discovery/v1',
  'k8s.io/api/policy/v1',
  'k8s.io/api/rbac/v1',
  'k8s.io/api/storage/v1',
  'k8s.io/api/scheduling/v1',
  'k8s.io/api/coordination/v1',
  'k8s.io/api/node/v1',
  'k8s.io/api/certificates/v1',
  'k8s.io/api/authentication/v1',
  'k8s.io/api/authorization/v1',
  'k8s.io/api/autoscaling/v1',
  'k8s.io/api/autoscaling/v2',
  'k8s.io/api/events/v1',
  'k8s.io/api/admissionregistration/v1',
  'k8s.io/api/admission/v1',
  'k8s.io/api/flowcontrol/v1',
  'k8s.io/api/resource/v1',
  'k8s.io/api/apidiscovery/v2',
];
const FILES = [
  'types.go',
  'well_known_labels.go',
  'annotation_key_constants.go',
  'objectreference.go',
  'watch.go',
  'group_version.go',
];

const { values } = parseArgs({ options: { source: { type: 'string' } } });
if (values.source === undefined || !existsSync(join(values.source, PACKAGES[0] ?? ''))) {
  console.error(
    `--source ${values.source ?? ''}: no k8s.io/apimachinery in it. Unpack golang-k8s-api-dev and ` +
      'golang-k8s-apimachinery-dev with `dpkg -x` and name their usr/share/gocode/src.',
  );
  process.exit(2);
}
const source = values.source;
const packages = PACKAGES.map((path) => {
  const files = FILES.map((file) => join(source, path, file)).filter((file) => existsSync(file));
  return withoutForeignAliases(
    parseGoPackage(
      path,
      files.map((file) => readFileSync(file, 'utf8')),
    ),
  );
});
const groups = PACKAGES.map((path) => {
  const register = readFileSync(join(source, path, 'register.go'), 'utf8');
  return /const GroupName = "([^"]*)"/.exec(register)?.[1] ?? '';
});

const here = import.meta.dirname;
const schema = emitSchema(packages, groups);
writeFileSync(join(here, '../types.json'), schema.types);
writeFileSync(join(here, '../docs.json'), schema.docs);
const apiTypes = join(here, '../../../machinery/api-types.ts');
const extra = JSON.parse(readFileSync(join(here, '../types-extra.json'), 'utf8')) as SchemaData;
writeFileSync(apiTypes, emitTypeScript([...packages, ...extraPackages(extra)]));
execFileSync(join(here, '../../../../node_modules/.bin/oxfmt'), [apiTypes], { stdio: 'inherit' });

/** Aliases of types that live in packages which are not read, such as `type InternalEvent watch.Event`, never reach JSON. */
function withoutForeignAliases(pkg: GoPackage): GoPackage {
  const foreign = [...pkg.types.values()].filter(
    ({ alias }) => alias?.kind === 'ref' && alias.package.endsWith('/pkg/watch'),
  );
  return { ...pkg, types: new Map([...pkg.types].filter(([, type]) => !foreign.includes(type))) };
}
