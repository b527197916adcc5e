// Pods that are not held as strongly as a policy demands: they get no grant under it. Pure.
import type { Bundle } from "../../policy/bundle.ts";
import { reaches } from "../../policy/tier.ts";
import type { PodIdentity } from "../resources.ts";
import { ExchangeRefused } from "./exchange-form.ts";

/** Throws ExchangeRefused. */
export function refuseUnheld(pod: PodIdentity, { minimumTier }: Bundle): void {
  // On a laptop nobody is held, and every event says so.
  if (minimumTier === undefined || pod.tier === "Local") return;
  const { tier, missing } = pod.tier ?? { tier: "Cooperative" as const, missing: undefined };
  if (reaches(tier, minimumTier.tier)) return;
  throw new ExchangeRefused(
    "invalid_target",
    "TierTooLow",
    `policy ${minimumTier.policy} demands tier ${minimumTier.tier}, and pod ${pod.namespace}/${pod.pod} is ${tier}${missing === undefined ? "" : `: ${missing.message}`}`,
  );
}
