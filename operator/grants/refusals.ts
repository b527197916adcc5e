// Turns refused exchanges into audit events without letting whoever is refused fill the audit trail.
import type { EventBody, EventType } from "../../contract/event.ts";
import type { ExchangeRefusal } from "./exchange.ts";

/** The first refusal of its kind is recorded at once; the next record of that kind, this much later, says how many came meanwhile. */
export const refusalPeriodMs = 10_000;

/** Kinds (reason, subject or peer, connection) followed at one time; beyond it refusals are counted together. */
const maxKinds = 1_000;

interface Kind {
  readonly since: number;
  readonly latest: ExchangeRefusal;
  readonly suppressed: number;
}

export function refusalRecorder(
  record: (type: EventType, body: EventBody) => void,
  now: () => number,
): (refusal: ExchangeRefusal) => void {
  const kinds = new Map<string, Kind>(); // in order of `since`
  const prune = (): void => {
    for (const [key, kind] of kinds) {
      if (now() - kind.since < refusalPeriodMs) return;
      kinds.delete(key);
      if (kind.suppressed > 0) record("error", describe(kind.latest, kind.suppressed));
    }
  };
  return (refusal) => {
    prune();
    const exact = `${refusal.reason} ${refusal.subject?.podUid ?? refusal.peerAddress} ${refusal.connection ?? ""}`;
    const key = kinds.has(exact) || kinds.size < maxKinds ? exact : "others";
    const known = kinds.get(key);
    if (known === undefined) record("error", describe(refusal, 1));
    kinds.set(key, {
      since: known?.since ?? now(),
      latest: refusal,
      suppressed: known === undefined ? 0 : known.suppressed + 1,
    });
  };
}

function describe(
  { reason, message, peerAddress, subject, connection }: ExchangeRefusal,
  count: number,
): EventBody {
  const [namespace, name] = connection?.split("/") ?? [];
  const times = count === 1 ? "" : ` (${count} times within ${refusalPeriodMs / 1000} s)`;
  return {
    ...(subject === undefined ? {} : { subject }),
    ...(namespace === undefined || name === undefined
      ? {}
      : { connection: { namespace, name, protocol: "" } }),
    error: { code: reason, message: `grant refused to ${peerAddress}: ${message}${times}` },
  };
}
