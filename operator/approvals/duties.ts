// Whom the segregation of duties keeps from deciding a request: who deployed the agent that asks, and who wrote the rule last.
import type { AccessPolicy, AccessRequest, ClusterAccessPolicy } from "../../crds/types.gen.ts";
import { clusterScope } from "../../policy/cluster.ts";
import { annotations } from "../injection/names.ts";
import type { KubeObject } from "../kube/objects.ts";
import type { Barred } from "./decide.ts";
import { splitReference } from "./state.ts";

export interface DutiesView {
  readonly policiesIn: (namespace: string) => readonly AccessPolicy[];
  readonly clusterPolicies: () => readonly ClusterAccessPolicy[];
  /** By `namespace/name`; undefined when it is gone, and with it everything that an approval could let through. */
  readonly pod: (key: string) => KubeObject | undefined;
}

/** As the stamps of admission say now. Service accounts are among them, who decide nothing anyway: they keep no person out. */
export function barredFrom(view: DutiesView, request: AccessRequest): readonly Barred[] {
  return [...deployer(view, request), ...authors(view, request)];
}

function deployer(view: DutiesView, { spec }: AccessRequest): readonly Barred[] {
  const { namespace, pod: name, podUid } = spec.requester;
  const pod = view.pod(`${namespace}/${name}`);
  const username =
    pod?.metadata.uid === podUid ? pod.metadata.annotations?.[annotations.deployedBy] : undefined;
  return username === undefined ? [] : [{ username, because: "you deployed this agent" }];
}

function authors(view: DutiesView, { spec, metadata }: AccessRequest): readonly Barred[] {
  return spec.policies.flatMap((asked) => {
    const { namespace, name } = splitReference(asked.name, metadata.namespace);
    const all: readonly (AccessPolicy | ClusterAccessPolicy)[] =
      namespace === clusterScope ? view.clusterPolicies() : view.policiesIn(namespace);
    const found = all.find((policy) => policy.metadata.name === name);
    const username = found?.metadata.annotations?.[annotations.author];
    return username === undefined
      ? []
      : [{ username, because: `you wrote policy ${asked.name} last` }];
  });
}
