// SPDX-License-Identifier: Apache-2.0
// CertificateSigningRequests: approves kubelets' own client certificates, signs what is approved for the built-in
// signers, and clears old requests away.
import type {
  CertificateSigningRequest,
  CertificateSigningRequestCondition,
  SubjectAccessReview,
} from '../../machinery/api-types.ts';
import { isNotFound } from '../../machinery/client.ts';
import { describeError } from '../../machinery/log.ts';
import { resources } from '../../machinery/resources.ts';
import { WorkQueue } from '../../machinery/work-queue.ts';
import { timestamp } from '../conditions.ts';
import { every } from '../controller.ts';
import type { Controller, ControllerContext, Running } from '../controller.ts';
import { refusal, signers } from './requests.ts';
import { readRequest, signRequest } from './signing.ts';

const serviceAccount = 'certificate-controller';

export const csrApprovingController: Controller = {
  name: 'certificatesigningrequest-approving-controller',
  serviceAccount,
  setup: setupApproving,
};
export const csrSigningController: Controller = {
  name: 'certificatesigningrequest-signing-controller',
  serviceAccount,
  setup: setupSigning,
};
export const csrCleanerController: Controller = {
  name: 'certificatesigningrequest-cleaner-controller',
  serviceAccount,
  setup: setupCleaner,
};

const cleanPeriodMs = 600_000;
const hourMs = 3_600_000;

function condition(request: CertificateSigningRequest, type: string): CertificateSigningRequestCondition | undefined {
  return request.status?.conditions?.find((one) => one.type === type);
}

/** `spec.request` is base64 of PEM. */
function pemOf(request: CertificateSigningRequest): string {
  return Buffer.from(String(request.spec.request), 'base64').toString('utf8');
}

function setupApproving({ client, informers, now }: ControllerContext): Running {
  const requests = informers.get<CertificateSigningRequest>(resources.certificateSigningRequests);
  const queue = new WorkQueue({ name: 'csr-approving', reconcile });
  requests.onChange(({ type, object }) => {
    if (type !== 'deleted') queue.add(object.metadata.name ?? '');
  });

  async function reconcile(name: string): Promise<void> {
    const request = requests.get(name);
    if (!request || request.spec.signerName !== signers.kubeletClient || request.status?.certificate) return;
    if (condition(request, 'Approved') || condition(request, 'Denied')) return;
    const wanted = await readRequest(pemOf(request));
    if (refusal(signers.kubeletClient, wanted, request.spec.usages ?? [])) return;
    const own = request.spec.username === wanted.commonName;
    if (!(await mayHave(request, own ? 'selfnodeclient' : 'nodeclient'))) return;
    const approved: CertificateSigningRequestCondition = {
      type: 'Approved',
      status: 'True',
      reason: 'AutoApproved',
      message: `Auto approving ${own ? 'self ' : ''}kubelet client certificate after SubjectAccessReview.`,
      lastUpdateTime: timestamp(now()),
      lastTransitionTime: timestamp(now()),
    };
    const conditions = [...(request.status?.conditions ?? []), approved];
    const body = { ...request, status: { ...request.status, conditions } };
    await client.update(resources.certificateSigningRequests, body, { subresource: 'approval' });
  }

  async function mayHave(request: CertificateSigningRequest, subresource: string): Promise<boolean> {
    const { username, uid, groups, extra } = request.spec;
    const review = await client.create<SubjectAccessReview>(resources.subjectAccessReviews, {
      spec: {
        ...(username && { user: username }),
        ...(uid && { uid }),
        ...(groups && { groups }),
        ...(extra && { extra }),
        resourceAttributes: {
          group: 'certificates.k8s.io',
          resource: 'certificatesigningrequests',
          verb: 'create',
          subresource,
          version: '*',
        },
      },
    });
    return review.status?.allowed === true;
  }

  return { queues: [queue] };
}

function setupSigning({ client, informers, settings, now }: ControllerContext): Running {
  const { signingCertificate, signingKey, signingDurationMs } = settings;
  if (!signingCertificate || !signingKey) return {};
  const authority = { certificate: signingCertificate, key: signingKey };
  const requests = informers.get<CertificateSigningRequest>(resources.certificateSigningRequests);
  const queue = new WorkQueue({ name: 'csr-signing', reconcile });
  const known: readonly string[] = Object.values(signers);
  requests.onChange(({ type, object }) => {
    if (type !== 'deleted') queue.add(object.metadata.name ?? '');
  });

  async function reconcile(name: string): Promise<void> {
    const request = requests.get(name);
    if (!request || !known.includes(request.spec.signerName) || request.status?.certificate) return;
    if (
      condition(request, 'Approved')?.status !== 'True' ||
      condition(request, 'Denied') ||
      condition(request, 'Failed')
    )
      return;
    const pem = pemOf(request);
    const usages = request.spec.usages ?? [];
    let problem: string | undefined;
    try {
      problem = refusal(request.spec.signerName, await readRequest(pem), usages);
    } catch (error) {
      problem = describeError(error);
    }
    let status = { ...request.status };
    if (problem) {
      const failed: CertificateSigningRequestCondition = {
        type: 'Failed',
        status: 'True',
        reason: 'SignerValidationFailure',
        message: problem,
        lastUpdateTime: timestamp(now()),
        lastTransitionTime: timestamp(now()),
      };
      status = { ...status, conditions: [...(status.conditions ?? []), failed] };
    } else {
      const asked = (request.spec.expirationSeconds ?? Infinity) * 1000;
      const lifetimeMs = Math.max(600_000, Math.min(asked, signingDurationMs));
      const certificate = await signRequest(authority, pem, { usages, lifetimeMs, now: now() });
      status = { ...status, certificate: Buffer.from(certificate).toString('base64') };
    }
    await client.update(resources.certificateSigningRequests, { ...request, status }, { subresource: 'status' });
  }

  return { queues: [queue] };
}

function setupCleaner({ client, informers, now }: ControllerContext): Running {
  const requests = informers.get<CertificateSigningRequest>(resources.certificateSigningRequests);
  return {
    run: (signal) =>
      every(cleanPeriodMs, signal, async () => {
        for (const request of requests.list()) {
          if (!isStale(request, now())) continue;
          await client
            .delete(resources.certificateSigningRequests, request.metadata.name ?? '')
            .catch((error: unknown) => {
              if (!isNotFound(error)) throw error;
            });
        }
      }),
  };
}

/** Decided requests are kept for an hour, undecided ones for a day. */
export function isStale(request: CertificateSigningRequest, now: number): boolean {
  const conditions = request.status?.conditions ?? [];
  const age = now - Date.parse(request.metadata.creationTimestamp ?? '');
  if (conditions.length === 0) return age > 24 * hourMs;
  return conditions.every(({ lastUpdateTime }) => now - Date.parse(lastUpdateTime ?? '') > hourMs);
}
