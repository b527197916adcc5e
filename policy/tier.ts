// How strongly a pod may be held, and what policies demand of it.
import type { AccessPolicy } from "../crds/types.gen.ts";

/** Weakest first. */
export const tiers = ["Cooperative", "Redirected", "Locked"] as const;
export type Tier = (typeof tiers)[number];

export interface TierDemand {
  readonly tier: Tier;
  /** `namespace/name` of the policy that demands it. */
  readonly policy: string;
}

/** True when `tier` is as strong as `minimum` or stronger. */
export function reaches(tier: Tier, minimum: Tier): boolean {
  return tiers.indexOf(tier) >= tiers.indexOf(minimum);
}

/** The strongest that any of them demands, of several policies the first; undefined when none does. */
export function strongestDemand(policies: readonly AccessPolicy[]): TierDemand | undefined {
  return policies
    .flatMap(({ metadata, spec }): readonly TierDemand[] =>
      spec.minimumTier === undefined
        ? []
        : [{ tier: spec.minimumTier, policy: `${metadata.namespace}/${metadata.name}` }],
    )
    .reduce<TierDemand | undefined>(
      (strongest, one) =>
        strongest !== undefined && reaches(strongest.tier, one.tier) ? strongest : one,
      undefined,
    );
}
