// Masks that hold at times: which of a list apply now. The answer is the same object while the same ones do, so what is compiled of it is kept.
import type { DetectMask } from "../bundle.ts";
import { compileWhen } from "../when.ts";
import type { CompiledWhen, WhenScope } from "../when.ts";

/** What is known before an operation is read. */
export type MaskScope = Pick<WhenScope, "subject" | "connection" | "session" | "time">;

/** Marks come one after the other, so few selections are met; more begin anew. */
const maxSelections = 64;

interface Conditional {
  readonly conditions: readonly (CompiledWhen | undefined)[];
  selections: Map<string, readonly DetectMask[]>;
}

/** By the list of masks, which is one object as long as its bundle lives. */
const known = new WeakMap<readonly DetectMask[], Conditional | "always">();

/**
 * Those without a condition, those whose condition is true, and those whose condition cannot be evaluated. Throws for one that does not compile.
 *
 * @param scope asked for only where some mask has a condition
 */
export function masksThatHold(
  masks: readonly DetectMask[],
  scope: () => MaskScope,
): readonly DetectMask[] {
  if (masks.length === 0) return masks;
  let conditional = known.get(masks);
  if (conditional === undefined) known.set(masks, (conditional = compiled(masks)));
  return conditional === "always" ? masks : selected(masks, conditional, scope());
}

function compiled(masks: readonly DetectMask[]): Conditional | "always" {
  if (masks.every(({ when }) => when === undefined)) return "always";
  const conditions = masks.map(({ when }) => (when === undefined ? undefined : compileWhen(when)));
  return { conditions, selections: new Map() };
}

function selected(
  masks: readonly DetectMask[],
  conditional: Conditional,
  scope: MaskScope,
): readonly DetectMask[] {
  const chosen = conditional.conditions.map((condition) => holds(condition, scope));
  const key = chosen.map(Number).join("");
  const before = conditional.selections.get(key);
  if (before !== undefined) return before;
  const made = masks.filter((_, index) => chosen[index]);
  if (conditional.selections.size >= maxSelections) conditional.selections = new Map();
  conditional.selections.set(key, made);
  return made;
}

const unread = { operation: { kind: "", summary: "" }, params: [] };

function holds(condition: CompiledWhen | undefined, scope: MaskScope): boolean {
  if (condition === undefined) return true;
  try {
    return condition.evaluate({ ...unread, ...scope });
  } catch {
    return true;
  }
}
