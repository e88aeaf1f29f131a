// SPDX-License-Identifier: Apache-2.0
// Priority: turns the name of a priority class into the number that the scheduler goes by.
import type { Pod, PriorityClass } from '../../machinery/api-types.ts';
import { typed } from '../resources/define.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../resources/definition.ts';
import { systemPriorities } from '../resources/scheduling/priority-classes.ts';
import { createdPod, isFor, refusal } from './attributes.ts';

const classes = 'priorityclasses.scheduling.k8s.io';

interface Chosen {
  readonly name?: string;
  readonly value: number;
  readonly preemptionPolicy: 'PreemptLowerPriority' | 'Never';
}

export const priority: AdmissionPlugin = {
  name: 'Priority',
  mutate(attributes) {
    if (attributes.operation === 'UPDATE' && isFor(attributes, 'pods')) {
      keepPriority(attributes.object as unknown as Pod, attributes.old as unknown as Pod);
      return;
    }
    const pod = createdPod(attributes);
    if (pod?.spec === undefined) {
      return;
    }
    const { spec } = pod;
    const chosen = choose(attributes, spec.priorityClassName ?? '');
    if (spec.priority !== undefined && spec.priority !== chosen.value) {
      throw refusal(
        attributes,
        `the integer value of priority (${spec.priority}) must not be provided in pod spec; priority admission controller computed ${chosen.value} from the given PriorityClass name`,
      );
    }
    if (spec.preemptionPolicy !== undefined && spec.preemptionPolicy !== chosen.preemptionPolicy) {
      throw refusal(
        attributes,
        `the string value of PreemptionPolicy (${spec.preemptionPolicy}) must not be provided in pod spec; priority admission controller computed ${chosen.preemptionPolicy} from the given PriorityClass name`,
      );
    }
    spec.priority = chosen.value;
    spec.preemptionPolicy = chosen.preemptionPolicy;
    if (chosen.name !== undefined) {
      spec.priorityClassName = chosen.name;
    }
  },
  validate(attributes) {
    if (attributes.operation === 'DELETE' || !isFor(attributes, classes)) {
      return;
    }
    const wanted = attributes.object as unknown as PriorityClass;
    const other = wanted.globalDefault === true ? globalDefault(attributes) : undefined;
    if (other !== undefined && other.metadata.name !== wanted.metadata.name) {
      throw refusal(
        attributes,
        `PriorityClass ${other.metadata.name} is already marked as default. Only one default can exist`,
      );
    }
  },
};

function choose(attributes: AdmissionAttributes, name: string): Chosen {
  if (name === '') {
    const found = globalDefault(attributes);
    return found === undefined ? { value: 0, preemptionPolicy: 'PreemptLowerPriority' } : chosenFrom(found);
  }
  const found = attributes.context.registry.get(classes, undefined, name) as unknown as PriorityClass | undefined;
  const system = systemPriorities[name];
  if (found !== undefined) {
    return chosenFrom(found);
  }
  if (system !== undefined) {
    return { name, value: system, preemptionPolicy: 'PreemptLowerPriority' };
  }
  throw refusal(attributes, `no PriorityClass with name ${name} was found`);
}

function chosenFrom({ metadata, value, preemptionPolicy }: PriorityClass): Chosen {
  return {
    ...(metadata.name !== undefined && { name: metadata.name }),
    value: value ?? 0,
    preemptionPolicy: preemptionPolicy ?? 'PreemptLowerPriority',
  };
}

/** The lowest of those marked as default, should there be several. */
function globalDefault(attributes: AdmissionAttributes): PriorityClass | undefined {
  return typed<PriorityClass>(attributes.context.registry.list(classes))
    .filter((candidate) => candidate.globalDefault === true)
    .toSorted((left, right) => (left.value ?? 0) - (right.value ?? 0))[0];
}

/** A client that leaves out what was filled in does not mean to change it. */
function keepPriority(pod: Pod, old: Pod): void {
  if (pod.spec === undefined || old.spec === undefined) {
    return;
  }
  if (pod.spec.priority === undefined && old.spec.priority !== undefined) {
    pod.spec.priority = old.spec.priority;
  }
  if (pod.spec.preemptionPolicy === undefined && old.spec.preemptionPolicy !== undefined) {
    pod.spec.preemptionPolicy = old.spec.preemptionPolicy;
  }
}
