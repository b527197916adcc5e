// What goes on for long is asked about again when the rules changed under it, or the pod's session came to carry another mark.
import type { Operation } from "../policy/operation.ts";
import type { ProxyError } from "./errors.ts";
import type { Gate, GateSession, LiveGrant, Passage } from "./pipeline.ts";

type Passed = Extract<Passage, { go: true }>;

/**
 * Asked at every piece that passes; free while nothing changed.
 *
 * @param operation what goes on; a function where it grows
 * @param live the grant that it began under
 * @param onGrant another grant is in force
 */
export function changedRules(
  gate: Pick<Gate, "current">,
  session: Pick<GateSession, "marks" | "refusalNow">,
  operation: Operation | (() => Operation),
  { decision, marks }: Passed,
  live: LiveGrant,
  onGrant?: (now: LiveGrant) => void,
): () => ProxyError | undefined {
  let grant = live;
  let carried = marks;
  return () => {
    const now = gate.current();
    const hasGrant = now !== undefined && now !== grant;
    if (!hasGrant && carried === session.marks) return undefined;
    if (hasGrant) {
      grant = now;
      onGrant?.(now);
    }
    carried = session.marks;
    return session.refusalNow(typeof operation === "function" ? operation() : operation, decision);
  };
}
