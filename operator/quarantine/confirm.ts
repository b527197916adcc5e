// How far a quarantine has come, counted from what the proxies themselves report.
import type { ProxyView } from "../../contract/control.ts";
import type { Quarantine } from "../../crds/types.gen.ts";
import { covers, reach, type QuarantinedPod } from "./select.ts";

/** What one proxy said it enforces, and when. */
export interface ReportedView {
  readonly pod: QuarantinedPod;
  readonly view: ProxyView;
  /** Milliseconds since 1970, by this operator's clock. */
  readonly receivedAt: number;
}

export interface Confirmation {
  /** Proxies that the quarantine reaches. */
  readonly proxies: number;
  /** Those that said they enforce it. */
  readonly confirmed: number;
  /** Of the reached proxies; undefined when there is none. */
  readonly oldestViewAt: number | undefined;
}

/** The code a proxy puts first into `unusable` of a connection that a quarantine cut off. */
export const unusableByQuarantine = "Quarantined";

/**
 * A proxy confirms when its view is younger than the quarantine and shows no session on anything that is cut off: what
 * counts is what it enforces, not that a message was sent.
 */
export function confirmation(
  quarantine: Quarantine,
  addedAt: number,
  views: Iterable<ReportedView>,
  operatorNamespace: string | undefined,
): Confirmation {
  let proxies = 0;
  let confirmed = 0;
  let oldestViewAt: number | undefined;
  for (const reported of views) {
    const cut = reach(quarantine, reported.pod, operatorNamespace);
    if (cut === undefined) continue;
    proxies += 1;
    oldestViewAt = Math.min(oldestViewAt ?? reported.receivedAt, reported.receivedAt);
    const selected = reported.view.connections.filter(({ connection }) => covers(cut, connection));
    const enforced = selected.every(
      ({ activeSessions, unusable }) =>
        activeSessions === 0 && unusable?.startsWith(unusableByQuarantine) === true,
    );
    if (reported.receivedAt >= addedAt && enforced) confirmed += 1;
  }
  return { proxies, confirmed, oldestViewAt };
}
