// The kinds of the API that the operator reads and writes.
import type { ResourceType } from "./objects.ts";

const ours = { group: "chaperone.dev", version: "v1alpha1" } as const;

export const resourceTypes = {
  Connection: { ...ours, kind: "Connection", plural: "connections" },
  AccessPolicy: { ...ours, kind: "AccessPolicy", plural: "accesspolicies" },
  ClusterAccessPolicy: { ...ours, kind: "ClusterAccessPolicy", plural: "clusteraccesspolicies" },
  AccessRequest: { ...ours, kind: "AccessRequest", plural: "accessrequests" },
  AccessSession: { ...ours, kind: "AccessSession", plural: "accesssessions" },
  Quarantine: { ...ours, kind: "Quarantine", plural: "quarantines" },
  Pod: { group: "", version: "v1", kind: "Pod", plural: "pods" },
  ConfigMap: { group: "", version: "v1", kind: "ConfigMap", plural: "configmaps" },
  Secret: { group: "", version: "v1", kind: "Secret", plural: "secrets" },
  NetworkPolicy: {
    group: "networking.k8s.io",
    version: "v1",
    kind: "NetworkPolicy",
    plural: "networkpolicies",
  },
  ClusterRole: {
    group: "rbac.authorization.k8s.io",
    version: "v1",
    kind: "ClusterRole",
    plural: "clusterroles",
  },
  TokenReview: {
    group: "authentication.k8s.io",
    version: "v1",
    kind: "TokenReview",
    plural: "tokenreviews",
  },
  SubjectAccessReview: {
    group: "authorization.k8s.io",
    version: "v1",
    kind: "SubjectAccessReview",
    plural: "subjectaccessreviews",
  },
  SelfSubjectAccessReview: {
    group: "authorization.k8s.io",
    version: "v1",
    kind: "SelfSubjectAccessReview",
    plural: "selfsubjectaccessreviews",
  },
  MutatingWebhookConfiguration: {
    group: "admissionregistration.k8s.io",
    version: "v1",
    kind: "MutatingWebhookConfiguration",
    plural: "mutatingwebhookconfigurations",
  },
  ValidatingWebhookConfiguration: {
    group: "admissionregistration.k8s.io",
    version: "v1",
    kind: "ValidatingWebhookConfiguration",
    plural: "validatingwebhookconfigurations",
  },
} as const satisfies Readonly<Record<string, ResourceType>>;

/** Only pods that opted in are watched: the others are none of our business, nor of our memory. */
export const injectLabel = "chaperone.dev/inject";
export const injectSelector = `${injectLabel}=true`;
