// SPDX-License-Identifier: Apache-2.0
// The labels and annotations that tie a sandbox or container to its pod. They are the kubelet's only memory across restarts, and the same
// as upstream's, so that either kubelet (and crictl, log shippers, cAdvisor) recognises the other's pods.
export const podNameLabel = 'io.kubernetes.pod.name';
export const podNamespaceLabel = 'io.kubernetes.pod.namespace';
export const podUidLabel = 'io.kubernetes.pod.uid';
export const containerNameLabel = 'io.kubernetes.container.name';
export const restartCountAnnotation = 'io.kubernetes.container.restartCount';
export const terminationMessagePathAnnotation = 'io.kubernetes.container.terminationMessagePath';
export const terminationMessagePolicyAnnotation = 'io.kubernetes.container.terminationMessagePolicy';
export const preStopAnnotation = 'io.kubernetes.container.preStopHandler';
export const portsAnnotation = 'io.kubernetes.container.ports';
export const gracePeriodAnnotation = 'io.kubernetes.pod.terminationGracePeriod';
/** Fingerprint of the container's definition; ours, because upstream's `io.kubernetes.container.hash` depends on its Go memory layout. */
export const definitionAnnotation = 'plumbline.local/container-definition';
