// SPDX-License-Identifier: Apache-2.0
/** Every policy case there is. Pure data: whoever runs them binds them to a live table (`bindCase`) and asks the oracle after each step. */
import { boundaryCases } from './boundaries.ts';
import { clusterPolicyCases } from './cluster-policies.ts';
import { pairwiseCases } from './pairwise.ts';
import type { PolicyCase } from './policy-case.ts';
import { randomCases } from './random.ts';
import { taxonomyCases } from './taxonomy.ts';
import { upstreamCases } from './upstream.ts';

export const policyCases: readonly PolicyCase[] = [
  ...taxonomyCases,
  ...upstreamCases,
  ...boundaryCases,
  ...pairwiseCases,
  ...clusterPolicyCases,
  ...randomCases,
];
