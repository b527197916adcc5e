// How strongly the pods of a policy are held: what its status says of their tiers. Pure.
import type { AccessPolicy } from "../../crds/types.gen.ts";
import { selectsSubject } from "../../policy/select.ts";
import { reaches, tiers } from "../../policy/tier.ts";
import type { KnownView } from "../api/views.ts";
import type { TierJudgement } from "../injection/tier.ts";
import type { WantedCondition } from "../kube/conditions.ts";

export interface HeldPod {
  /** `namespace/name`. */
  readonly pod: string;
  readonly judgement: TierJudgement;
}

/** Of a pod that is there; undefined when it is not known (any more). */
export type TierOf = (pod: KnownView["pod"]) => TierJudgement | undefined;

/** Pods whose proxies serve a Connection of the policy to one of its subjects, those that were refused for their tier too. */
export function heldPods(
  policy: AccessPolicy,
  views: readonly KnownView[],
  tierOf: TierOf,
): readonly HeldPod[] {
  const targeted = new Set(
    policy.spec.targetRefs.map(({ name }) => `${policy.metadata.namespace}/${name}`),
  );
  return views.flatMap(({ pod, view }) => {
    const serves = view.connections.some(({ connection }) => targeted.has(connection));
    if (!serves || !selectsSubject(policy, pod)) return [];
    const judgement = tierOf(pod);
    return judgement === undefined ? [] : [{ pod: `${pod.namespace}/${pod.pod}`, judgement }];
  });
}

/** Nothing is said where there are no pods. */
export function heldCondition(
  policy: AccessPolicy,
  pods: readonly HeldPod[],
): readonly WantedCondition[] {
  const weakest = pods.reduce<HeldPod | undefined>(
    (found, one) =>
      found !== undefined && reaches(one.judgement.tier, found.judgement.tier) ? found : one,
    undefined,
  );
  if (weakest === undefined) return [];
  const { tier, missing } = weakest.judgement;
  const { minimumTier } = policy.spec;
  const counts = tiers.flatMap((one) => {
    const count = pods.filter(({ judgement }) => judgement.tier === one).length;
    return count === 0 ? [] : [`${count} ${one}`];
  });
  const why = missing === undefined ? "" : `; ${weakest.pod}: ${missing.message}`;
  return [
    {
      type: "Held",
      status: minimumTier === undefined || reaches(tier, minimumTier) ? "True" : "False",
      reason: tier,
      message: `${pods.length === 1 ? "1 pod" : `${pods.length} pods`}: ${counts.join(", ")}${why}`,
    },
  ];
}
