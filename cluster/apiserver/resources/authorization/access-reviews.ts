// SPDX-License-Identifier: Apache-2.0
// SubjectAccessReview and its Local and Self forms: may this subject do that. Answered, never stored.
import type {
  LocalSubjectAccessReview,
  NonResourceAttributes,
  ResourceAttributes,
  SelfSubjectAccessReview,
  SubjectAccessReview,
  SubjectAccessReviewStatus,
} from '../../../machinery/api-types.ts';
import type { AccessAttributes, ResourcesConfig } from '../config.ts';
import { define } from '../define.ts';
import type { FieldError, ResourceDefinition, UserInfo } from '../definition.ts';
import { forbidden, invalid, required } from '../validation/fields.ts';

interface Asked {
  readonly resourceAttributes?: ResourceAttributes;
  readonly nonResourceAttributes?: NonResourceAttributes;
}

const common = { group: 'authorization.k8s.io', verbs: ['create'] } as const;

export function subjectAccessReviews(config: ResourcesConfig): ResourceDefinition {
  return define<SubjectAccessReview>({
    ...common,
    plural: 'subjectaccessreviews',
    kind: 'SubjectAccessReview',
    namespaced: false,
    validateReview: (review) => [...validateAsked(review.spec), ...validateSubject(review.spec)],
    review: async (review) => ({ ...review, status: await decide(config, subject(review.spec), review.spec) }),
  });
}

export function localSubjectAccessReviews(config: ResourcesConfig): ResourceDefinition {
  return define<LocalSubjectAccessReview>({
    ...common,
    plural: 'localsubjectaccessreviews',
    kind: 'LocalSubjectAccessReview',
    namespaced: true,
    validateReview: (review, context) => [
      ...validateAsked(review.spec),
      ...validateSubject(review.spec),
      ...(review.spec.nonResourceAttributes !== undefined
        ? [forbidden('spec.nonResourceAttributes', 'disallowed on this kind of request')]
        : []),
      ...(review.spec.resourceAttributes?.namespace !== (review.metadata.namespace ?? context.namespace)
        ? [
            invalid(
              'spec.resourceAttributes.namespace',
              review.spec.resourceAttributes?.namespace,
              'must match metadata.namespace',
            ),
          ]
        : []),
    ],
    review: async (review) => ({ ...review, status: await decide(config, subject(review.spec), review.spec) }),
  });
}

export function selfSubjectAccessReviews(config: ResourcesConfig): ResourceDefinition {
  return define<SelfSubjectAccessReview>({
    ...common,
    plural: 'selfsubjectaccessreviews',
    kind: 'SelfSubjectAccessReview',
    namespaced: false,
    validateReview: (review) => validateAsked(review.spec),
    review: async (review, context) => ({ ...review, status: await decide(config, context.user, review.spec) }),
  });
}

async function decide(config: ResourcesConfig, user: UserInfo, asked: Asked): Promise<SubjectAccessReviewStatus> {
  const { allowed, denied, reason, evaluationError } = await config.authorize(attributes(user, asked));
  return {
    allowed,
    ...(denied === true && { denied }),
    ...(reason !== undefined && reason !== '' && { reason }),
    ...(evaluationError !== undefined && { evaluationError }),
  };
}

function attributes(user: UserInfo, asked: Asked): AccessAttributes {
  const resource = asked.resourceAttributes;
  if (resource === undefined) {
    return { user, verb: asked.nonResourceAttributes?.verb ?? '', path: asked.nonResourceAttributes?.path ?? '' };
  }
  return {
    user,
    verb: resource.verb ?? '',
    group: resource.group ?? '',
    version: resource.version ?? '',
    resource: resource.resource ?? '',
    ...(resource.subresource !== undefined && { subresource: resource.subresource }),
    ...(resource.namespace !== undefined && { namespace: resource.namespace }),
    ...(resource.name !== undefined && { name: resource.name }),
  };
}

function subject(spec: SubjectAccessReview['spec']): UserInfo {
  return {
    name: spec.user ?? '',
    groups: spec.groups ?? [],
    ...(spec.uid !== undefined && { uid: spec.uid }),
    ...(spec.extra !== undefined && { extra: spec.extra }),
  };
}

function validateAsked(spec: Asked): FieldError[] {
  const both = spec.resourceAttributes !== undefined && spec.nonResourceAttributes !== undefined;
  const none = spec.resourceAttributes === undefined && spec.nonResourceAttributes === undefined;
  if (!both && !none) {
    return [];
  }
  return [
    invalid(
      both ? 'spec.nonResourceAttributes' : 'spec.resourceAttributes',
      spec.nonResourceAttributes,
      both
        ? 'cannot be specified in combination with resourceAttributes'
        : 'exactly one of nonResourceAttributes or resourceAttributes must be specified',
    ),
  ];
}

function validateSubject(spec: SubjectAccessReview['spec']): FieldError[] {
  return (spec.user ?? '') === '' && (spec.groups ?? []).length === 0
    ? [required('spec.user', 'at least one of user or group must be specified')]
    : [];
}
