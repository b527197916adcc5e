// What several statements of one text do together to the settings that a policy holds a session to.
import type { SessionEffects } from "../operation.ts";

export function joinEffects(
  one: SessionEffects | undefined,
  other: SessionEffects | undefined,
): SessionEffects | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  const longest = Math.max(one.statementTimeoutMs ?? 0, other.statementTimeoutMs ?? 0);
  return { ...one, ...other, ...(longest > 0 ? { statementTimeoutMs: longest } : {}) };
}
