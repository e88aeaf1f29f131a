// SPDX-License-Identifier: Apache-2.0
// CustomResourceDefinitions as stored objects; what they define is served by cluster/apiserver/extensions.
import type { ObjectMeta } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';

interface CustomResourceDefinition {
  metadata: ObjectMeta;
  spec: {
    group?: string;
    names?: { plural?: string; singular?: string; kind?: string; listKind?: string };
    scope?: string;
    versions?: { name?: string; served?: boolean; storage?: boolean }[];
    conversion?: { strategy?: string };
  };
  status?: unknown;
}

export const customResourceDefinitions = define<CustomResourceDefinition>({
  group: 'apiextensions.k8s.io',
  plural: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
  shortNames: ['crd', 'crds'],
  categories: ['api-extensions'],
  versions: [
    { version: 'v1', schema: 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition' },
  ],
  status: true,
  initialStatus: () => ({ storedVersions: [] }),
});
