// Fields of one rule that contradict each other, so that no operation can match it.
import type { HttpMatch, LlmMatch, RuleAction, SqlMatch } from "./bundle.ts";
import { plainOperations } from "./match/llm.ts";

export interface DeadField {
  /** Below the rule. */
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** Statements that name neither relations, columns nor functions. */
const bareStatements: ReadonlySet<string> = new Set([
  "transaction",
  "set",
  "replication",
  "unrecognised",
]);

const statementsWithWhere: ReadonlySet<string> = new Set(["update", "delete"]);

export function deadSql(block: SqlMatch): readonly DeadField[] {
  const { statements, relations, columns, functions, hasWhere } = block;
  const dead: DeadField[] = [];
  if (statements !== undefined && statements.every((kind) => bareStatements.has(kind))) {
    for (const [field, value] of Object.entries({ relations, columns, functions, hasWhere })) {
      if (value !== undefined)
        dead.push({
          path: ["sql", field],
          message: `can never match: ${statements.join(" and ")} statements have none`,
        });
    }
    return dead;
  }
  if (
    hasWhere !== undefined &&
    functions === undefined &&
    statements !== undefined &&
    !statements.some((kind) => statementsWithWhere.has(kind))
  ) {
    dead.push({
      path: ["sql", "hasWhere"],
      message: "can never match: only update and delete have it, and statements lists neither",
    });
  }
  for (const [index, column] of (columns ?? []).entries()) {
    if (
      relations !== undefined &&
      !relations.some((relation) => canShareText(`${relation}.*`, column))
    ) {
      dead.push({
        path: ["sql", "columns", index],
        message: `can never match: ${column} belongs to none of the relations of this rule`,
      });
    }
  }
  return dead;
}

export function deadHttp(block: HttpMatch): readonly DeadField[] {
  return (block.paths ?? []).flatMap((path, index) => {
    const message = deadPath(path);
    return message === undefined ? [] : [{ path: ["http", "paths", index], message }];
  });
}

/** Patterns are held against the one normalised path, which has no empty segment, no dot segment and no encoded slash. */
function deadPath(path: string): string | undefined {
  if (path.includes("//")) return "can never match: a normalised path has no empty segment";
  const segments = path.split("/");
  if (segments.some((segment) => segment === "." || segment === ".."))
    return "can never match: a normalised path has no . or .. segment";
  if (/%(2f|5c|2e|00)/i.test(path))
    return "can never match: write the path decoded; encoded / \\ and . are always refused";
  if (segments.some((segment) => segment !== "**" && segment.includes("**")))
    return "uses ** inside a segment: ** stands alone between slashes, * stands inside one segment";
  return undefined;
}

export function deadLlm(block: LlmMatch, action: RuleAction): readonly DeadField[] {
  const { operations, tools, maxOutputTokens } = block;
  if (
    action !== "Deny" ||
    operations === undefined ||
    !operations.every((name) => plainOperations.has(name))
  )
    return [];
  return Object.entries({ tools, maxOutputTokens }).flatMap(([field, value]) =>
    value === undefined
      ? []
      : [
          {
            path: ["llm", field],
            message: `can never match: ${operations.join(" and ")} have none`,
          },
        ],
  );
}

/** Whether some text matches both `*` patterns. Row by row, so the time is at most the product of their lengths. */
export function canShareText(a: string, b: string): boolean {
  let row: boolean[] = [true];
  for (let j = 0; j < b.length; j++) row.push(row[j] === true && b[j] === "*");
  for (const letter of a) {
    const next: boolean[] = [row[0] === true && letter === "*"];
    for (let j = 0; j < b.length; j++) {
      const wild = letter === "*" || b[j] === "*";
      next.push(
        (wild && (row[j + 1] === true || next[j] === true)) || (letter === b[j] && row[j] === true),
      );
    }
    row = next;
  }
  return row[b.length] === true;
}
