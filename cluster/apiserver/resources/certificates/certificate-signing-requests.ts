// SPDX-License-Identifier: Apache-2.0
// Certificate signing requests: asked for by anyone, approved by one party, signed by another.
import type { CertificateSigningRequest, CertificateSigningRequestCondition } from '../../../machinery/api-types.ts';
import { define, keepAllBut } from '../define.ts';
import type { FieldError } from '../definition.ts';
import { ageColumn, nameColumn, text } from '../printing/columns.ts';
import { humanDuration } from '../printing/durations.ts';
import { timestamp } from '../subresources/timestamps.ts';
import { duplicate, forbidden, immutable, invalid, required, same } from '../validation/fields.ts';
import { pathSegmentName } from '../validation/names.ts';

const decisions = ['Approved', 'Denied'];
const leastSeconds = 600;

export const certificateSigningRequests = define<CertificateSigningRequest>({
  group: 'certificates.k8s.io',
  plural: 'certificatesigningrequests',
  kind: 'CertificateSigningRequest',
  namespaced: false,
  shortNames: ['csr'],
  nameRule: pathSegmentName,
  default({ spec }) {
    if (spec !== undefined && (spec.usages ?? []).length === 0) {
      spec.usages = ['digital signature', 'key encipherment'];
    }
  },
  prepareForCreate({ spec }, { user }) {
    // Who asks is what the server saw, never what the request says.
    spec.username = user.name;
    spec.groups = [...user.groups];
    if (user.uid === undefined) {
      delete spec.uid;
    } else {
      spec.uid = user.uid;
    }
    if (user.extra === undefined) {
      delete spec.extra;
    } else {
      spec.extra = Object.fromEntries(Object.entries(user.extra).map(([key, values]) => [key, [...values]]));
    }
  },
  prepareForUpdate(request, old) {
    request.spec = old.spec;
  },
  validate,
  status: {
    prepareForUpdate(request, old) {
      // Decisions are made by the approval subresource only.
      const given = (request.status?.conditions ?? []).filter(({ type }) => !decisions.includes(type));
      const decided = (old.status?.conditions ?? []).filter(({ type }) => decisions.includes(type));
      request.status = { ...request.status, conditions: stamped([...decided, ...given]) };
      if (request.status.conditions?.length === 0) {
        delete request.status.conditions;
      }
    },
    validateUpdate: (request, old) =>
      (old.status?.certificate ?? '') === ''
        ? []
        : immutable('status.certificate', request.status?.certificate, old.status?.certificate),
  },
  initialStatus: () => ({}),
  views: {
    approval: {
      prepareForUpdate(request, old) {
        const conditions = stamped(request.status?.conditions ?? []);
        keepAllBut(['status'], request, old);
        request.status = { ...old.status, conditions };
      },
      validateUpdate: validateApproval,
    },
  },
  selectableFields: ({ spec }) => ({ 'spec.signerName': spec.signerName ?? '' }),
  allColumns: [
    nameColumn(),
    ageColumn(),
    text('SignerName', ({ spec }) => ((spec.signerName ?? '') === '' ? '<none>' : spec.signerName)),
    text('Requestor', ({ spec }) => spec.username ?? ''),
    text('RequestedDuration', ({ spec }) =>
      spec.expirationSeconds === undefined ? '<none>' : humanDuration(spec.expirationSeconds * 1000),
    ),
    text('Condition', conditionText),
  ],
});

function validate({ spec }: CertificateSigningRequest): FieldError[] {
  const errors: FieldError[] = [];
  const pem = Buffer.from(spec?.request ?? '', 'base64').toString();
  if (!/-----BEGIN (NEW )?CERTIFICATE REQUEST-----/.test(pem)) {
    errors.push(invalid('spec.request', '', 'PEM block type must be CERTIFICATE REQUEST'));
  }
  const signer = spec?.signerName ?? '';
  if (signer === '') {
    errors.push(required('spec.signerName'));
  } else if (!/^[^/]+\.[^/]+\/.+$/.test(signer)) {
    errors.push(
      invalid(
        'spec.signerName',
        signer,
        'must be a fully qualified domain and path of the form "example.com/signer-name"',
      ),
    );
  }
  if (spec?.expirationSeconds !== undefined && spec.expirationSeconds < leastSeconds) {
    errors.push(
      invalid(
        'spec.expirationSeconds',
        spec.expirationSeconds,
        'may not specify a duration less than 600 seconds (10 minutes)',
      ),
    );
  }
  return errors;
}

function validateApproval(request: CertificateSigningRequest, old: CertificateSigningRequest): FieldError[] {
  const errors: FieldError[] = [];
  const conditions = request.status?.conditions ?? [];
  const seen = new Set<string>();
  for (const [index, { type, status }] of conditions.entries()) {
    const at = `status.conditions[${index}]`;
    if (seen.has(type)) {
      errors.push(duplicate(`${at}.type`, type));
    }
    seen.add(type);
    if (decisions.includes(type) && status !== 'True') {
      errors.push(
        invalid(`${at}.status`, status, `Approved, Denied, and Failed conditions may not be anything but True`),
      );
    }
  }
  if (seen.has('Approved') && seen.has('Denied')) {
    errors.push(invalid('status.conditions', 'Denied', 'Approved and Denied conditions are mutually exclusive'));
  }
  for (const decided of old.status?.conditions ?? []) {
    const kept = conditions.find(({ type }) => type === decided.type);
    if (decisions.includes(decided.type) && !same(kept?.status, decided.status)) {
      errors.push(
        forbidden('status.conditions', `updates may not remove a condition of type ${JSON.stringify(decided.type)}`),
      );
    }
  }
  return errors;
}

function stamped(conditions: readonly CertificateSigningRequestCondition[]): CertificateSigningRequestCondition[] {
  const now = timestamp();
  return conditions.map((condition) => ({
    ...condition,
    status: condition.status ?? 'True',
    lastUpdateTime: condition.lastUpdateTime ?? now,
    lastTransitionTime: condition.lastTransitionTime ?? now,
  }));
}

function conditionText({ status }: CertificateSigningRequest): string {
  const types = (status?.conditions ?? []).map(({ type }) => type);
  const words = types.includes('Denied') ? ['Denied'] : types.includes('Approved') ? ['Approved'] : [];
  if (types.includes('Failed')) {
    words.push('Failed');
  }
  if ((status?.certificate ?? '') !== '') {
    words.push('Issued');
  }
  return words.length === 0 ? 'Pending' : words.join(',');
}
