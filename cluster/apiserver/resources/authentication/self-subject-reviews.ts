// SPDX-License-Identifier: Apache-2.0
// SelfSubjectReview: `kubectl auth whoami`. Answered, never stored.
import type { SelfSubjectReview } from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import { apiUser } from './user-info.ts';

export const selfSubjectReviews = define<SelfSubjectReview>({
  group: 'authentication.k8s.io',
  plural: 'selfsubjectreviews',
  kind: 'SelfSubjectReview',
  namespaced: false,
  verbs: ['create'],
  review: async (review, context) => ({ ...review, status: { userInfo: apiUser(context.user) } }),
});
