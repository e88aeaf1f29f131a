// SPDX-License-Identifier: Apache-2.0
// What the resources need from the running API server. The composition root (cluster/apiserver/main.ts) fills it in.
import type { KubeObject, UserInfo } from './definition.ts';

/** PEM texts with which the API server speaks to kubelets. */
export interface KubeletCredentials {
  /** Authority of the kubelets' serving certificates; without it they are not checked, as upstream does. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface TokenClaims {
  readonly namespace: string;
  readonly serviceAccount: KubeObject;
  readonly audiences: readonly string[];
  readonly expirationSeconds: number;
  /** Pod, Secret or Node that the token lives and dies with. */
  readonly boundObject?: {
    readonly kind: string;
    readonly apiVersion: string;
    readonly name: string;
    readonly uid: string;
  };
  /** Node of the bound pod. */
  readonly node?: { readonly name: string; readonly uid?: string };
}

export interface AccessAttributes {
  readonly user: UserInfo;
  readonly verb: string;
  readonly group?: string;
  readonly version?: string;
  readonly resource?: string;
  readonly subresource?: string;
  readonly namespace?: string;
  readonly name?: string;
  /** Set for requests that are not for a resource, such as `/healthz`. */
  readonly path?: string;
}

export interface AccessDecision {
  readonly allowed: boolean;
  readonly denied?: boolean;
  readonly reason?: string;
  readonly evaluationError?: string;
}

export interface RulesOfUser {
  readonly resourceRules: readonly {
    readonly verbs: readonly string[];
    readonly apiGroups?: readonly string[];
    readonly resources?: readonly string[];
    readonly resourceNames?: readonly string[];
  }[];
  readonly nonResourceRules: readonly {
    readonly verbs: readonly string[];
    readonly nonResourceURLs?: readonly string[];
  }[];
  readonly incomplete: boolean;
}

export interface ResourcesConfig {
  /** CIDRs of Service addresses, one per family; the first is the family of Services that ask for none. */
  readonly serviceClusterIPRanges: readonly string[];
  /** Ports of NodePort services, `30000-32767`. */
  readonly serviceNodePortRange: string;
  readonly kubelet: KubeletCredentials;
  /** Audiences of a token that names none: the API server's own. */
  readonly apiAudiences: readonly string[];
  readonly mintToken: (claims: TokenClaims) => Promise<{ token: string; expirationTimestamp: string }>;
  /** Who a bearer token belongs to; undefined when it is not good. Errors are told in `error`. */
  readonly authenticateToken: (
    token: string,
    audiences: readonly string[],
  ) => Promise<{ user: UserInfo; audiences: readonly string[] } | { error: string } | undefined>;
  readonly authorize: (attributes: AccessAttributes) => AccessDecision | Promise<AccessDecision>;
  readonly rulesOf: (user: UserInfo, namespace: string) => RulesOfUser;
}
