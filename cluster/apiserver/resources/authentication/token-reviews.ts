// SPDX-License-Identifier: Apache-2.0
// TokenReview: who does a bearer token belong to. Answered, never stored.
import type { TokenReview } from '../../../machinery/api-types.ts';
import type { ResourcesConfig } from '../config.ts';
import { define } from '../define.ts';
import type { ResourceDefinition } from '../definition.ts';
import { required } from '../validation/fields.ts';
import { apiUser } from './user-info.ts';

export function tokenReviews(config: ResourcesConfig): ResourceDefinition {
  return define<TokenReview>({
    group: 'authentication.k8s.io',
    plural: 'tokenreviews',
    kind: 'TokenReview',
    namespaced: false,
    verbs: ['create'],
    nameRule: () => [],
    validateReview: (review) =>
      (review.spec.token ?? '') === '' ? [required('spec.token', 'token is required for TokenReview')] : [],
    async review(review) {
      const requested = review.spec.audiences ?? [];
      const answer = await config.authenticateToken(
        review.spec.token ?? '',
        requested.length === 0 ? config.apiAudiences : requested,
      );
      if (answer === undefined || 'error' in answer) {
        const error = answer?.error;
        return { ...review, status: { authenticated: false, user: {}, ...(error !== undefined && { error }) } };
      }
      return {
        ...review,
        status: {
          authenticated: true,
          user: apiUser(answer.user),
          ...(requested.length > 0 && { audiences: [...answer.audiences] }),
        },
      };
    },
  });
}
