// SPDX-License-Identifier: Apache-2.0
// Horizontal pod autoscalers: stored as v2; v1 shows the one metric that it knows.
import type {
  AutoscalingV2HorizontalPodAutoscaler,
  AutoscalingV2MetricSpec,
  HorizontalPodAutoscaler,
} from '../../../machinery/api-types.ts';
import { define } from '../define.ts';
import type { FieldError, KubeObject } from '../definition.ts';
import { integer, text } from '../printing/columns.ts';
import { invalid, positive, required } from '../validation/fields.ts';

type Autoscaler = AutoscalingV2HorizontalPodAutoscaler;

/** Where v1 keeps the metrics that it cannot show. */
const metricsAnnotation = 'autoscaling.alpha.kubernetes.io/metrics';
const mostShown = 2;

export const horizontalPodAutoscalers = define<Autoscaler>({
  group: 'autoscaling',
  plural: 'horizontalpodautoscalers',
  kind: 'HorizontalPodAutoscaler',
  namespaced: true,
  shortNames: ['hpa'],
  categories: ['all'],
  versions: [
    'v2',
    {
      version: 'v1',
      schema: 'io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler',
      fromStorage: (object) => toV1(object as unknown as Autoscaler) as unknown as KubeObject,
      toStorage: (object) => fromV1(object as unknown as HorizontalPodAutoscaler) as unknown as KubeObject,
    },
  ],
  default({ spec }) {
    if (spec !== undefined) {
      spec.minReplicas ??= 1;
      if ((spec.metrics ?? []).length === 0) {
        spec.metrics = [cpuMetric(80)];
      }
    }
  },
  validate,
  status: true,
  initialStatus: () => ({ desiredReplicas: 0, currentMetrics: null }),
  columns: [
    text('Reference', ({ spec }) => `${spec?.scaleTargetRef.kind}/${spec?.scaleTargetRef.name}`),
    text('Targets', targets),
    text('MinPods', ({ spec }) => String(spec?.minReplicas ?? '<unset>')),
    integer('MaxPods', ({ spec }) => spec?.maxReplicas),
    integer('Replicas', ({ status }) => status?.currentReplicas),
  ],
});

function cpuMetric(averageUtilization: number): AutoscalingV2MetricSpec {
  return { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization } } };
}

function isCpuMetric({ type, resource }: AutoscalingV2MetricSpec): boolean {
  return type === 'Resource' && resource?.name === 'cpu' && resource.target.averageUtilization !== undefined;
}

function toV1({ metadata, spec, status, ...rest }: Autoscaler): HorizontalPodAutoscaler {
  const metrics = spec?.metrics ?? [];
  const cpu = metrics.find(isCpuMetric);
  const others = metrics.filter((metric) => metric !== cpu);
  const {
    metrics: _metrics,
    behavior: _behavior,
    ...specRest
  } = spec ?? { maxReplicas: 0, scaleTargetRef: { kind: '', name: '' } };
  const utilization = cpu?.resource?.target.averageUtilization;
  const current = status?.currentMetrics?.find(({ type, resource }) => type === 'Resource' && resource?.name === 'cpu');
  const currentUtilization = current?.resource?.current.averageUtilization;
  return {
    ...rest,
    apiVersion: 'autoscaling/v1',
    metadata:
      others.length === 0
        ? metadata
        : { ...metadata, annotations: { ...metadata.annotations, [metricsAnnotation]: JSON.stringify(others) } },
    spec: { ...specRest, ...(utilization !== undefined && { targetCPUUtilizationPercentage: utilization }) },
    status: {
      currentReplicas: status?.currentReplicas ?? 0,
      desiredReplicas: status?.desiredReplicas ?? 0,
      ...(status?.lastScaleTime !== undefined && { lastScaleTime: status.lastScaleTime }),
      ...(currentUtilization !== undefined && { currentCPUUtilizationPercentage: currentUtilization }),
    },
  };
}

function fromV1({ metadata, spec, status, ...rest }: HorizontalPodAutoscaler): Autoscaler {
  const { [metricsAnnotation]: kept, ...annotations } = metadata.annotations ?? {};
  const { targetCPUUtilizationPercentage: utilization, ...specRest } = spec ?? {
    maxReplicas: 0,
    scaleTargetRef: { kind: '', name: '' },
  };
  const metrics = [...keptMetrics(kept), ...(utilization === undefined ? [] : [cpuMetric(utilization)])];
  return {
    ...rest,
    apiVersion: 'autoscaling/v2',
    metadata: kept === undefined ? metadata : { ...metadata, annotations },
    spec: { ...specRest, ...(metrics.length > 0 && { metrics }) },
    ...(status !== undefined && {
      status: { currentReplicas: status.currentReplicas, desiredReplicas: status.desiredReplicas },
    }),
  };
}

function keptMetrics(text: string | undefined): AutoscalingV2MetricSpec[] {
  try {
    const parsed: unknown = JSON.parse(text ?? '[]');
    return Array.isArray(parsed) ? (parsed as AutoscalingV2MetricSpec[]) : [];
  } catch {
    // An annotation that somebody wrote by hand; without it the spec still stands.
    return [];
  }
}

function validate({ spec }: Autoscaler): FieldError[] {
  if (spec === undefined) {
    return [required('spec.scaleTargetRef')];
  }
  const errors: FieldError[] = [];
  if ((spec.minReplicas ?? 1) < 1) {
    errors.push(invalid('spec.minReplicas', spec.minReplicas, 'must be greater than or equal to 1'));
  }
  errors.push(...positive('spec.maxReplicas', spec.maxReplicas ?? 0));
  if ((spec.maxReplicas ?? 0) < (spec.minReplicas ?? 1)) {
    errors.push(invalid('spec.maxReplicas', spec.maxReplicas, 'must be greater than or equal to `minReplicas`'));
  }
  for (const field of ['kind', 'name'] as const) {
    if ((spec.scaleTargetRef?.[field] ?? '') === '') {
      errors.push(required(`spec.scaleTargetRef.${field}`));
    }
  }
  return errors;
}

function targets({ spec, status }: Autoscaler): string {
  const list = (spec?.metrics ?? []).map((metric, index) => {
    const resource = metric.resource ?? metric.containerResource;
    const seen = status?.currentMetrics?.[index];
    const current = (seen?.resource ?? seen?.containerResource)?.current;
    if (resource?.target.averageUtilization !== undefined) {
      const now = current?.averageUtilization === undefined ? '<unknown>' : `${current.averageUtilization}%`;
      return `${resource.name}: ${now}/${resource.target.averageUtilization}%`;
    }
    const target = (metric.pods ?? metric.object ?? metric.external ?? resource)?.target;
    return `<unknown>/${target?.averageValue ?? target?.value ?? '<auto>'}`;
  });
  if (list.length === 0) {
    return '<none>';
  }
  const text = list.slice(0, mostShown).join(', ');
  return list.length > mostShown ? `${text} + ${list.length - mostShown} more...` : text;
}
