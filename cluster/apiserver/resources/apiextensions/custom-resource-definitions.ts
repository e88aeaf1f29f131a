// SPDX-License-Identifier: Apache-2.0
// CustomResourceDefinitions as stored objects; what they define is served by cluster/apiserver/extensions.
import type { CustomResourceDefinition } from '../../../machinery/api-types.ts';
import {
  defaultDefinition,
  validateDefinition,
  validateDefinitionUpdate,
} from '../../extensions/validate-definition.ts';
import { define } from '../define.ts';
import { createdColumn, nameColumn } from '../printing/columns.ts';

export const customResourceDefinitions = define<CustomResourceDefinition>({
  group: 'apiextensions.k8s.io',
  plural: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
  freeFinalizers: true,
  shortNames: ['crd', 'crds'],
  categories: ['api-extensions'],
  versions: [
    { version: 'v1', schema: 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition' },
  ],
  default: defaultDefinition,
  validate: validateDefinition,
  validateUpdate: validateDefinitionUpdate,
  validateUpdateOnly: true,
  status: true,
  initialStatus: () => ({ storedVersions: [] }),
  allColumns: [nameColumn(), createdColumn()],
});
