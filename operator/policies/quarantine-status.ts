// What a Quarantine's status says: how many proxies it reaches, how many confirmed, how old the oldest view is. Pure.
import type { Quarantine, QuarantineStatus } from "../../crds/types.gen.ts";
import { mergeConditions, type WantedCondition } from "../kube/conditions.ts";
import type { Confirmation } from "../quarantine/confirm.ts";

/** The time of the oldest view moves with every report; it is written down again only when it moved by this, or with other news. */
const viewNewsMs = 60_000;

export function quarantineStatus(
  quarantine: Quarantine,
  isActive: boolean,
  { proxies, confirmed, oldestViewAt }: Confirmation,
  now: number,
): QuarantineStatus {
  const { generation } = quarantine.metadata;
  const before = quarantine.status;
  const isNews = before?.confirmed !== confirmed || before.proxies !== proxies;
  const oldestView = oldest(isNews ? undefined : before?.oldestView, oldestViewAt);
  return {
    confirmed,
    proxies,
    ...(oldestView === undefined ? {} : { oldestView }),
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    conditions: mergeConditions(
      before?.conditions,
      conditions(quarantine, isActive, proxies, confirmed),
      generation,
      now,
    ),
  };
}

function conditions(
  { spec }: Quarantine,
  isActive: boolean,
  proxies: number,
  confirmed: number,
): readonly WantedCondition[] {
  if (!isActive) {
    const message = `it ended at ${spec.until ?? ""}`;
    return [
      { type: "Active", status: "False", reason: "Ended", message },
      { type: "Enforced", status: "False", reason: "Ended", message },
    ];
  }
  const active: WantedCondition = {
    type: "Active",
    status: "True",
    reason: "InForce",
    message: spec.until === undefined ? "until it is deleted" : `until ${spec.until}`,
  };
  const count = `${confirmed} of ${proxies} proxies confirmed`;
  const enforced: Omit<WantedCondition, "type"> =
    confirmed === proxies
      ? {
          status: "True",
          reason: "Confirmed",
          message: proxies === 0 ? "it reaches no proxy now; no new grant is given" : count,
        }
      : { status: "False", reason: "Waiting", message: count };
  return [active, { type: "Enforced", ...enforced }];
}

function oldest(before: string | undefined, at: number | undefined): string | undefined {
  if (at === undefined) return undefined;
  if (before !== undefined && Math.abs(Date.parse(before) - at) < viewNewsMs) return before;
  return new Date(at).toISOString();
}
