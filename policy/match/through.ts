// What a Deny or RequireApproval says about an access by the name of a relative: of the partition that the table is part of, of the table that a view reads.
import type { Access, Relative, RelationAccess } from "../operation.ts";
import type { Reading } from "./field.ts";
import { condition, speaks, unheard } from "./inquiry.ts";
import type { Inquiry } from "./inquiry.ts";
import { opensRelative } from "./relatives.ts";
import type { PreparedRule } from "./rule.ts";
import type { RuleSet } from "./rules.ts";
import { relativesMeant } from "./sql.ts";

/**
 * The first relative of the access that the rule, which hears the operation, speaks about; undefined for nearly all.
 *
 * | the access touches the table by                | a rule about the table speaks                               |
 * | a partition, a child, a parent                 | always: the same rows                                       |
 * | a view                                         | unless a permission opens the view and would not open the table: its author told them apart |
 * | a view, and the rule is one of the cluster     | always: no policy lifts it                                  |
 */
export function spokenThrough(
  inquiry: Inquiry,
  rules: RuleSet,
  rule: PreparedRule,
  access: Access,
  reading: Reading,
): Relative | undefined {
  if (access.kind !== "relation" || access.relatives === undefined || !rule.sql) return undefined;
  return relativesMeant(rule.sql, access, reading).find(
    (relative) =>
      relative.as !== "read" || rule.restricts || !isGiven(inquiry, rules, access, relative),
  );
}

/** Some permission opens the view without opening what it reads. */
function isGiven(
  inquiry: Inquiry,
  { allows, approvals }: RuleSet,
  access: RelationAccess,
  relative: Relative,
): boolean {
  return [...allows.sql, ...approvals.sql].some(
    (permit) =>
      !permit.restricts &&
      permit.sql !== undefined &&
      unheard(inquiry, permit, "covers") === undefined &&
      speaks(inquiry, permit, access, "covers") &&
      !opensRelative(permit.sql, relative) &&
      condition(inquiry, permit) === "true",
  );
}
