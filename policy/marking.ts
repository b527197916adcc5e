// What one operation puts on the pod's session if it passes, by the Connection and by rules; what its answer puts there is known when it comes.
import type { Bundle, MarkSource } from "./bundle.ts";
import type { Decision } from "./decision.ts";
import { builtIn } from "./evaluate.ts";
import { condition, speaks, unheard } from "./match/inquiry.ts";
import type { Inquiry } from "./match/inquiry.ts";
import type { PreparedRule } from "./match/rule.ts";
import type { SqlOperation } from "./operation.ts";

/**
 * What this operation puts on the pod's session if it passes: the Connection's marks, unless it only keeps a session open, and those of every
 * enforced rule that permits and speaks about any part of it, whichever rule allowed it. A condition that fails counts as true.
 */
export function marksOf(
  marking: readonly PreparedRule[],
  inquiry: Inquiry,
  decision: Decision,
): readonly MarkSource[] {
  if (decision.verdict === "deny") return [];
  const isBasic = decision.policy === builtIn.policy && decision.rule === builtIn.rule;
  const own = isBasic ? [] : (inquiry.bundle.marks ?? []).map((mark) => ({ mark }));
  return [...own, ...marking.flatMap((rule) => (touches(rule, inquiry) ? sources(rule) : []))];
}

/** What the answer to a text may put there: before it comes, anything that answers may. */
export function marksOfAnswers(
  { columnMasks, detectMasks }: Bundle,
  { facts: { statements } }: SqlOperation,
): readonly MarkSource[] {
  if (statements.every((kind) => kind === "transaction" || kind === "set")) return [];
  return [...columnMasks, ...detectMasks].flatMap(({ marks = [] }) => marks);
}

function touches(rule: PreparedRule, inquiry: Inquiry): boolean {
  if (unheard(inquiry, rule, "holds") !== undefined) return false;
  const { accesses } = inquiry.operation;
  return (
    accesses.some(
      (access) =>
        !("basic" in access && access.basic === true) && speaks(inquiry, rule, access, "holds"),
    ) && condition(inquiry, rule) !== "false"
  );
}

function sources({ marks, policy, name }: PreparedRule): readonly MarkSource[] {
  return marks.map((mark) => ({ mark, policy, rule: name }));
}
