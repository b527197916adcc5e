// Whether a bundle allows reads alone. Then its sessions are read-only in the database, too, because what a function or a view does cannot be seen in a statement.
import { ruleBlocks } from "./when.ts";
import { permits, type Bundle, type BundleRule } from "./bundle.ts";
import { relationWrites, type StatementKind } from "./operation.ts";

/** Kinds whose target can be seen in the statement. */
const visibleWrites: readonly StatementKind[] = [
  ...relationWrites,
  // COMMENT and REFRESH MATERIALIZED VIEW are among them.
  "utility",
];
/** Kinds that are covered only where a rule names them, because they run what cannot be seen. */
const opaqueWrites: readonly StatementKind[] = ["call", "do", "other"];

/**
 * True when no Allow and no RequireApproval can cover a write. Conditions and chains are taken to hold.
 *
 * A rule that allows functions without naming statements does not make sessions writable: a function that is to write
 * needs a rule that names the kind of its writes beside it.
 */
export function allowsOnlyReads(bundle: Bundle): boolean {
  if (bundle.connection.protocol !== "postgres" || bundle.observeOnly) return false;
  const rules = bundle.rules.filter(({ mode }) => mode === "Enforce");
  const denied = new Set(rules.flatMap(deniedOutright));
  return !rules.some((rule) => permits(rule) && coversWrite(rule, denied));
}

/** Kinds of which the rule lets nothing through, whatever they touch. */
function deniedOutright(rule: BundleRule): readonly StatementKind[] {
  const { action, sql, when } = rule;
  if (action !== "Deny" || when !== undefined || isAboutOthers(rule)) return [];
  if (sql === undefined) return visibleWrites;
  const { statements, ...narrowing } = sql;
  if (Object.values(narrowing).some((field) => field !== undefined)) return [];
  return visibleWrites.filter((kind) => statements === undefined || statements.includes(kind));
}

/** It has the block of another protocol; a rule without any is about SQL, too. */
function isAboutOthers(rule: BundleRule): boolean {
  return rule.sql === undefined && ruleBlocks.some((block) => rule[block] !== undefined);
}

function coversWrite(rule: BundleRule, denied: ReadonlySet<StatementKind>): boolean {
  if (isAboutOthers(rule)) return false;
  const { statements, relations, columns, functions } = rule.sql ?? {};
  if (statements !== undefined && opaqueWrites.some((kind) => statements.includes(kind)))
    return true;
  const onlyFunctions = functions !== undefined && relations === undefined && columns === undefined;
  if (statements === undefined && onlyFunctions) return false;
  return visibleWrites.some(
    (kind) => !denied.has(kind) && (statements === undefined || statements.includes(kind)),
  );
}
