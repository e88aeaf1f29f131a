// SPDX-License-Identifier: Apache-2.0
// SelfSubjectRulesReview: `kubectl auth can-i --list`. Answered, never stored.
import type { NonResourceRule, ResourceRule, SelfSubjectRulesReview } from '../../../machinery/api-types.ts';
import type { ResourcesConfig, RulesOfUser } from '../config.ts';
import { define } from '../define.ts';
import type { ResourceDefinition } from '../definition.ts';
import { required } from '../validation/fields.ts';

export function selfSubjectRulesReviews(config: ResourcesConfig): ResourceDefinition {
  return define<SelfSubjectRulesReview>({
    group: 'authorization.k8s.io',
    plural: 'selfsubjectrulesreviews',
    kind: 'SelfSubjectRulesReview',
    namespaced: false,
    verbs: ['create'],
    validateReview: (review) =>
      (review.spec.namespace ?? '') === '' ? [required('spec.namespace', 'namespace must be specified')] : [],
    async review(review, context) {
      const rules = config.rulesOf(context.user, review.spec.namespace ?? '');
      return {
        ...review,
        status: {
          resourceRules: rules.resourceRules.map(resourceRule),
          nonResourceRules: rules.nonResourceRules.map(nonResourceRule),
          incomplete: rules.incomplete,
        },
      };
    },
  });
}

function resourceRule(rule: RulesOfUser['resourceRules'][number]): ResourceRule {
  return {
    verbs: [...rule.verbs],
    ...(rule.apiGroups !== undefined && { apiGroups: [...rule.apiGroups] }),
    ...(rule.resources !== undefined && { resources: [...rule.resources] }),
    ...(rule.resourceNames !== undefined && { resourceNames: [...rule.resourceNames] }),
  };
}

function nonResourceRule(rule: RulesOfUser['nonResourceRules'][number]): NonResourceRule {
  return {
    verbs: [...rule.verbs],
    ...(rule.nonResourceURLs !== undefined && { nonResourceURLs: [...rule.nonResourceURLs] }),
  };
}
