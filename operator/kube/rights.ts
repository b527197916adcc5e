// Every right the operator needs from RBAC: asked for at start, so that a missing one is one clear line and not a riddle later.
import type { OperatorConfig } from "../config.ts";
import type { AccessQuestion } from "./access.ts";
import type { ResourceType } from "./objects.ts";
import { resourceTypes } from "./resource-types.ts";

const {
  AccessPolicy,
  AccessRequest,
  AccessSession,
  ClusterRole,
  ConfigMap,
  ClusterAccessPolicy,
  Connection,
  MutatingWebhookConfiguration,
  NetworkPolicy,
  Pod,
  Quarantine,
  Secret,
  SubjectAccessReview,
  TokenReview,
  ValidatingWebhookConfiguration,
} = resourceTypes;

export function neededRights(
  config: Pick<
    OperatorConfig,
    "namespace" | "authoritySecret" | "keysSecret" | "webhookConfiguration" | "agentEgress"
  >,
): readonly AccessQuestion[] {
  const { namespace, webhookConfiguration, agentEgress } = config;
  return [
    ...[Connection, AccessPolicy, ClusterAccessPolicy, Quarantine, AccessRequest, Pod].flatMap(
      (type) => rights(type, ["list", "watch"]),
    ),
    ...rights(Pod, ["get"]),
    ...rights(Pod, ["patch"], { subresource: "status" }),
    ...rights(AccessRequest, ["get", "create", "delete"]),
    ...rights(AccessRequest, ["update"], { subresource: "status" }),
    ...[Connection, AccessPolicy, ClusterAccessPolicy, Quarantine].flatMap((type) =>
      rights(type, ["patch"], { subresource: "status" }),
    ),
    ...rights(Secret, ["get"]),
    ...[config.authoritySecret, config.keysSecret].flatMap((name) =>
      rights(Secret, ["update"], { namespace, name }),
    ),
    ...rights(ConfigMap, ["list", "watch"], { namespace }),
    ...rights(AccessSession, ["list", "watch", "delete"], { namespace }),
    ...rights(TokenReview, ["create"]),
    ...rights(SubjectAccessReview, ["create"]),
    ...[MutatingWebhookConfiguration, ValidatingWebhookConfiguration].flatMap((type) =>
      rights(type, ["get", "patch"], { name: webhookConfiguration }),
    ),
    ...(agentEgress === undefined
      ? []
      : [
          ...rights(NetworkPolicy, ["create", "patch"]),
          ...rights(ClusterRole, ["get"], { name: agentEgress.owner }),
        ]),
  ];
}

function rights(
  { group, plural }: ResourceType,
  verbs: readonly string[],
  where: Pick<AccessQuestion, "subresource" | "namespace" | "name"> = {},
): AccessQuestion[] {
  return verbs.map((verb) => ({ verb, group, resource: plural, ...where }));
}
