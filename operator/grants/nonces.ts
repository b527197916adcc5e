// Server nonces of RFC 9449 section 8: derived from time and a secret that every replica shares, so that none has to be remembered.
import { createHmac, createSecretKey, timingSafeEqual } from "node:crypto";

/** A nonce is handed out for this long and accepted for one period more; a proof can thus be made at most two periods ahead. */
export const noncePeriodMs = 60_000;
/** The last, this and the next period, and room for a clock that jumps. */
const maxKnownSlots = 8;

export interface Nonces {
  /** The nonce to put into `DPoP-Nonce`. */
  current(): string;
  accepts(nonce: string): boolean;
}

export function serverNonces(secret: Buffer, now: () => number): Nonces {
  const key = createSecretKey(secret);
  const known = new Map<number, Buffer>();
  /** Each is asked for by every proof of three minutes. */
  const at = (slot: number): Buffer => {
    const nonce =
      known.get(slot) ?? createHmac("sha256", key).update(String(slot)).digest().subarray(0, 24);
    if (known.size > maxKnownSlots) known.clear();
    known.set(slot, nonce);
    return nonce;
  };
  const slotNow = (): number => Math.floor(now() / noncePeriodMs);
  return {
    current: () => at(slotNow()).toString("base64url"),
    accepts(nonce) {
      const given = Buffer.from(nonce, "base64url");
      const slot = slotNow();
      // Also the coming slot: another replica's clock may be a moment ahead of ours.
      return [slot, slot - 1, slot + 1].some((candidate) => {
        const expected = at(candidate);
        return given.length === expected.length && timingSafeEqual(given, expected);
      });
    },
  };
}
