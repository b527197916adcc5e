// What this room needs to know of a text beside its facts, kept per distinct text so that drivers' statements are looked at once.
import type { Access, SqlOperation, StatementKind } from "../../policy/operation.ts";
import { isSystemSchema } from "../../policy/sql/catalog-relations.ts";
import type { SqlRecognition } from "../../policy/sql/recognise.ts";
import type { SqlNameUse } from "../../policy/sql/sql-names.ts";
import { summarise } from "../../policy/sql/summary.ts";
import { createTextCache } from "../../policy/sql/text-cache.ts";
import { sqlWeight } from "../../policy/sql/weight.ts";
import { errorResponse } from "./messages.ts";
import { shapeOf } from "./shape.ts";

/** Text to facts; never throws: what it cannot understand is an operation with `unrecognised`. */
export type Recognise = (text: string) => SqlRecognition;

export interface Understood {
  /** What runs: the client's text, or what is sent in its place. */
  readonly text: string;
  /** The client's text is not the one to send. */
  readonly replaced: boolean;
  /** The text, or one that differs from it in compared integers only; proofs are kept by it. */
  readonly shape: string;
  /** Without parameters. */
  readonly operation: SqlOperation;
  /** What its names take to keep, estimated. */
  readonly bytes: number;
  /** May start COPY: the client's next bytes may be data, so nothing is read ahead. */
  readonly copies: boolean;
  /** Changes something and may return rows: a result that is cut off must not commit. */
  readonly returnsFromWrite: boolean;
  /** May prepare, deallocate, declare, close or discard names by SQL. */
  readonly changesNames: boolean;
  /** May declare a cursor. */
  readonly declares: boolean;
  /** May read or move a cursor, or change the row that it stands on. */
  readonly fetches: boolean;
  /** What the text does to one name of a statement prepared by SQL, where that can be read off it. */
  readonly nameUse: SqlNameUse | undefined;
  /** Runs code that nobody here has read (DO, a function of the user's own), which may prepare and deallocate by itself. */
  readonly runsCode: boolean;
  /** May change what tables and columns there are. */
  readonly changesSchema: boolean;
  /** May make functions or operators, or have old ones meant by other texts. */
  readonly addsFunctions: boolean;
  /** Names relations that are not PostgreSQL's own. */
  readonly namesTables: boolean;
  /** Begins or ends transactions and does nothing else. */
  readonly onlyTransaction: boolean;
  /** A name in it may be another in a database that is not UTF-8. */
  readonly namesVary: boolean;
  /** A command of the replication protocol, not SQL. */
  readonly replicates?: true;
  /** The text is no SQL: what PostgreSQL itself would answer. */
  readonly syntaxError: Buffer | undefined;
}

/** Distinct texts a room remembers. */
const maxTexts = 1_000;
/** What they may take together: all of them at the usual length, or at a length of 4 KiB. */
const maxTextBytes = 12 * 1024 * 1024;
/** Longer texts are rarely sent twice. */
const maxRememberedText = 4 * 1024;
/** What is known of a text beside its names. */
const understoodBytes = 1024;

const readingKinds: ReadonlySet<StatementKind> = new Set<StatementKind>([
  "select",
  "explain",
  "set",
  "transaction",
]);
const writingKinds: ReadonlySet<StatementKind> = new Set<StatementKind>([
  "insert",
  "update",
  "delete",
  "merge",
]);
const schemaKinds: ReadonlySet<StatementKind> = new Set<StatementKind>([
  "create",
  "alter",
  "drop",
  "call",
  "do",
  "other",
]);
const namesPattern = /\b(?:prepare|deallocate|declare|close|discard|execute)\b/i;

const fetchPattern = /\b(?:fetch|move|of)\b/i;

/** ALTER renames, moves between schemas, and drops columns that hid a function of rows. What DO and CALL make is read when they are done. */
const functionsPattern = /\b(?:function|procedure|routine|operator|aggregate|extension|alter)\b/i;

export function createStudy(recognise: Recognise): (text: string) => Understood {
  const known = createTextCache<Understood>(maxTexts, maxTextBytes);
  const study = (text: string): Understood => {
    const found = known.get(text);
    if (found !== undefined) return found;
    const understood = understand(text, recognise(text));
    if (text.length <= maxRememberedText)
      known.set(text, understood, understoodBytes + understood.bytes);
    return understood;
  };
  return (text) => {
    const found = known.get(text);
    if (found !== undefined) return found;
    const shape = shapeOf(text);
    if (shape === undefined) return study(text);
    const like = study(shape);
    // What is wrong with a text is said about the text itself.
    return like.operation.unrecognised === undefined ? alike(like, text) : study(text);
  };
}

/** Another text of the same shape: all facts hold, only what people read is its own. */
function alike(like: Understood, text: string): Understood {
  const operation = { ...like.operation, summary: summarise(text, noTokens) };
  return { ...like, text, operation };
}

/** Texts with a shape have no comments; without tokens the summary is cautious where it looks for passwords. */
function noTokens(): never {
  throw new Error("a text with a shape is not tokenised");
}

export function understand(
  text: string,
  { operation: recognised, syntaxError, nameUse, instead, namesVary }: SqlRecognition,
): Understood {
  const operation: SqlOperation = { ...recognised, params: [] };
  const { statements } = operation.facts;
  const opaque = operation.unrecognised !== undefined;
  // A text of blanks and comments, as drivers ping with, is of kind "other" and does nothing.
  const changesSchema =
    opaque || (operation.facts.count > 0 && statements.some((kind) => schemaKinds.has(kind)));
  return {
    text: instead ?? text,
    replaced: instead !== undefined,
    shape: instead ?? text,
    operation,
    bytes: sqlWeight(operation),
    copies: opaque || statements.includes("copy"),
    returnsFromWrite: opaque || mayReturnFromWrite(text, operation),
    changesNames: opaque || namesPattern.test(text),
    declares: opaque || /\bdeclare\b/i.test(text),
    fetches: opaque || fetchPattern.test(text),
    nameUse,
    runsCode: operation.accesses.some(isForeignCode),
    changesSchema,
    addsFunctions: opaque || (changesSchema && functionsPattern.test(text)),
    namesTables: operation.accesses.some(isOfTable),
    onlyTransaction:
      !opaque &&
      operation.accesses.length > 0 &&
      operation.accesses.every(
        (access) => access.kind === "statement" && access.statement === "transaction",
      ),
    namesVary: namesVary === true,
    syntaxError:
      syntaxError === undefined
        ? undefined
        : errorResponse({ severity: "ERROR", sqlstate: "42601", ...syntaxError }),
  };
}

function isOfTable(access: Access): boolean {
  if (access.kind !== "relation") return false;
  return !isSystemSchema(access.relation.slice(0, access.relation.indexOf(".")));
}

function isForeignCode(access: Access): boolean {
  if (access.kind === "statement") return access.opaque === true;
  return (
    access.kind === "function" && !/^(?:pg_catalog|information_schema)\./.test(access.function)
  );
}

function mayReturnFromWrite(text: string, operation: SqlOperation): boolean {
  if (operation.accesses.some((access) => access.kind === "function" && !access.safe)) return true;
  const { statements } = operation.facts;
  if (statements.every((kind) => readingKinds.has(kind))) return false;
  if (statements.every((kind) => readingKinds.has(kind) || writingKinds.has(kind)))
    return /\breturning\b/i.test(text);
  return true;
}
