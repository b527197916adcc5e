// What a definition makes possible under names that are decided elsewhere, also for a statement that waits for its lock: a Deny or RequireApproval of
// that kind of statement speaks about the definition itself.
import type { StatementKind } from "../operation.ts";
import { asList, asText, bodyOf, tagged, type Body, type Tagged } from "./ast.ts";

/** Kinds of statements that will reach the rows of a relation by another name than its own. */
export type Consequence = "any" | readonly StatementKind[];

interface Consequences {
  /** For the relation that the definition is of, and what a view reads. */
  readonly own?: Consequence;
  /** For the other that it is tied to or untied from. */
  readonly other?: Consequence;
}

/** Rows that come with the child, or are written to it, are rows of its parent. */
export const ofParent: Consequence = ["insert"];
/** A plain view of one table is written through. */
const ofView: Consequence = ["insert", "update", "delete", "merge"];

const ofAlterTable: Readonly<Record<string, Consequences>> = {
  AT_AttachPartition: { own: ofParent, other: "any" },
  AT_DetachPartition: { own: "any", other: "any" },
  AT_DetachPartitionFinalize: { own: "any", other: "any" },
  AT_AddInherit: { own: "any", other: ofParent },
  AT_DropInherit: { own: "any", other: "any" },
};

const none: Consequences = {};

export function consequencesOf({ tag, body }: Tagged): Consequences {
  switch (tag) {
    case "RenameStmt":
    case "AlterObjectSchemaStmt":
      return { own: "any" };
    case "ViewStmt":
      return isWrittenThrough(body) ? { own: ofView } : none;
    case "AlterTableStmt": {
      const found = asList(body["cmds"]).flatMap(
        (command) => ofAlterTable[asText(bodyOf(command, "AlterTableCmd")?.["subtype"])] ?? [],
      );
      return found.length > 1 ? { own: "any", other: "any" } : (found[0] ?? none);
    }
    default:
      return none;
  }
}

/** Sections that keep PostgreSQL from writing through a view by itself. */
const sections = [
  "distinctClause",
  "groupClause",
  "havingClause",
  "limitCount",
  "limitOffset",
  "withClause",
];

function isWrittenThrough(view: Body): boolean {
  const query = bodyOf(view["query"], "SelectStmt");
  if (query === undefined) return true;
  const [first, ...more] = asList(query["fromClause"]);
  return (
    more.length === 0 &&
    tagged(first)?.tag === "RangeVar" &&
    sections.every((section) => query[section] === undefined)
  );
}
