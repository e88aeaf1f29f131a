// SPDX-License-Identifier: Apache-2.0
// APIServices: which server answers for which group and version.
import type { Condition, ObjectMeta } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { text } from '../printing/columns.ts';
import { invalid, required } from '../validation/fields.ts';
import { pathSegmentName } from '../validation/names.ts';

interface APIService {
  metadata: ObjectMeta;
  spec: {
    service?: { namespace?: string; name?: string; port?: number };
    group?: string;
    version?: string;
    insecureSkipTLSVerify?: boolean;
    caBundle?: string;
    groupPriorityMinimum?: number;
    versionPriority?: number;
  };
  status?: { conditions?: Condition[] };
}

export const apiServices = define<APIService>({
  group: 'apiregistration.k8s.io',
  plural: 'apiservices',
  kind: 'APIService',
  namespaced: false,
  nameRule: pathSegmentName,
  categories: ['api-extensions'],
  versions: [{ version: 'v1', schema: 'io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService' }],
  status: true,
  initialStatus: () => ({}),
  default(object) {
    object.spec ??= {};
    if (object.spec.service !== undefined) {
      object.spec.service.port ??= 443;
    }
  },
  validate(object) {
    const { version = '', group = '' } = object.spec;
    const name = `${version}.${group}`;
    return [
      ...(version === '' ? [required('spec.version')] : []),
      ...(object.metadata.name === name
        ? []
        : [invalid('metadata.name', object.metadata.name, `must be \`spec.version+"."+spec.group\`: "${name}"`)]),
    ];
  },
  columns: [
    text('Service', ({ spec: { service } }) =>
      service === undefined ? 'Local' : `${service.namespace ?? ''}/${service.name ?? ''}`,
    ),
    text('Available', ({ status }) => {
      const condition = status?.conditions?.find(({ type }) => type === 'Available');
      if (condition === undefined) {
        return 'Unknown';
      }
      return condition.status === 'True' ? 'True' : `${condition.status ?? ''} (${condition.reason})`;
    }),
  ],
});
