// SPDX-License-Identifier: Apache-2.0
// Nobody hands out rights that they do not have: checks writes of roles against the writer's own rules, and writes of bindings
// against the rules of the role. The verbs `escalate` and `bind` lift the check.
import type { PolicyRule, RoleBinding } from '../../machinery/api-types.ts';
import type { AccessAttributes, AccessDecision } from '../resources/config.ts';
import type { AdmissionAttributes, AdmissionPlugin, KubeObject } from '../resources/definition.ts';
import { forbidden } from '../status.ts';
import { rbacGroup } from './rbac.ts';
import type { Rbac } from './rbac.ts';
import { describeRule, uncovered } from './rbac-rules.ts';

type Authorize = (attributes: AccessAttributes) => AccessDecision | Promise<AccessDecision>;

export function createEscalationCheck(rbac: Rbac, authorize: Authorize): AdmissionPlugin {
  return {
    name: 'RBACEscalation',
    async validate(attributes) {
      const { definition, operation, object, context } = attributes;
      const writes = operation === 'CREATE' || operation === 'UPDATE';
      if (definition.group !== rbacGroup || !writes || object === undefined || isMaster(attributes)) {
        return;
      }
      const isBinding = definition.plural.endsWith('bindings');
      const ref = isBinding ? (object as unknown as RoleBinding).roleRef : undefined;
      const namespace = object.metadata.namespace ?? '';
      const lifted = await authorize({
        user: context.user,
        verb: isBinding ? 'bind' : 'escalate',
        group: rbacGroup,
        resource: ref === undefined ? definition.plural : `${ref.kind.toLowerCase()}s`,
        name: ref?.name ?? object.metadata.name ?? '',
        namespace,
      });
      if (lifted.allowed) {
        return;
      }
      const granted = ref === undefined ? rulesOf(object) : rbac.rulesOfRole(ref.kind, ref.name, namespace);
      const missing = uncovered(granted ?? [], rbac.rulesOf(context.user, namespace));
      if (missing.length > 0) {
        const who = `user ${JSON.stringify(context.user.name)} (groups=${JSON.stringify(context.user.groups)})`;
        const list = missing.map(describeRule).join('\n');
        const why = `${who} is attempting to grant RBAC permissions not currently held:\n${list}`;
        throw forbidden(definition, object.metadata.name ?? '', why);
      }
    },
  };
}

function isMaster({ context }: AdmissionAttributes): boolean {
  return context.user.groups.includes('system:masters');
}

function rulesOf(role: KubeObject): PolicyRule[] {
  return (role['rules'] as PolicyRule[] | undefined) ?? [];
}
