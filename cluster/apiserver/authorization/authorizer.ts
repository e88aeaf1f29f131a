// SPDX-License-Identifier: Apache-2.0
// May this user do that: system:masters may everything, then the node authorizer, then RBAC; nothing else allows.
import type { AccessAttributes, AccessDecision, RulesOfUser } from '../resources/config.ts';
import type { UserInfo } from '../resources/definition.ts';
import type { NodeAuthorizer } from './node-authorizer.ts';
import type { Rbac } from './rbac.ts';
import { describeRules } from './rbac.ts';

export interface Authorizer {
  authorize(attributes: AccessAttributes): AccessDecision;
  rulesOf(user: UserInfo, namespace: string): RulesOfUser;
}

const everything = {
  resourceRules: [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }],
  nonResourceRules: [{ verbs: ['*'], nonResourceURLs: ['*'] }],
  incomplete: false,
};

export function createAuthorizer(rbac: Rbac, nodes: NodeAuthorizer): Authorizer {
  return {
    authorize(attributes) {
      if (attributes.user.groups.includes('system:masters')) {
        return { allowed: true };
      }
      const byNode = nodes.decide(attributes);
      if (byNode?.allowed === true || rbac.allows(attributes)) {
        return { allowed: true };
      }
      return byNode ?? { allowed: false };
    },
    rulesOf: (user, namespace) =>
      user.groups.includes('system:masters') ? everything : describeRules(rbac.rulesOf(user, namespace)),
  };
}
