// What one statement shows: the rows it returns, copies out or keeps in a cursor, each column with what may be in it.
import {
  asBody,
  asList,
  asText,
  bodyOf,
  strings,
  tagged,
  type Body,
  type Tagged,
} from "../../sql/ast.ts";
import { noRows, unknownColumns, wholeOf, type Rows } from "./columns.ts";
import { decides, relationRows, stores, type Trace } from "./trace.ts";
import { traceQuery } from "./write.ts";

type Tracing = Omit<Trace, "query" | "place">;

/** How COPY writes its rows; undefined options are PostgreSQL's defaults. */
export interface CopyFormat {
  readonly format: string;
  /** The first line is names. */
  readonly header: boolean;
  /** Some option changes how fields are told apart. */
  readonly special: string | undefined;
}

export interface Shown {
  /** Undefined where nothing masked can be in it, however many columns come. */
  readonly rows?: Rows;
  /** The rows come by FETCH from this cursor. */
  readonly declares?: string;
  readonly fetches?: string;
  readonly copies?: CopyFormat;
}

/** Statements whose columns are traced; any other may not read masked columns at all. */
export const tracedStatements: ReadonlySet<string> = new Set([
  "SelectStmt",
  "InsertStmt",
  "UpdateStmt",
  "DeleteStmt",
  "MergeStmt",
  "ExplainStmt",
  "DeclareCursorStmt",
  "PrepareStmt",
  "CreateTableAsStmt",
  "ViewStmt",
  "CopyStmt",
]);

/** @param traced false where no masked column is in reach: then only names of cursors matter */
export function shownBy({ tag, body }: Tagged, traced: boolean, trace: Tracing): Shown {
  switch (tag) {
    case "FetchStmt":
      return body["ismove"] === true ? {} : { fetches: asText(body["portalname"]) };
    case "DeclareCursorStmt":
      return {
        declares: asText(body["portalname"]),
        ...(traced ? { rows: inner(body["query"], trace) } : {}),
      };
    case "ClusterStmt":
      // Rows that nobody sorts come as they were put down. Which columns the index is of, its name does not say.
      decides(
        wholeOf(relationRows(asBody(body["relation"]) ?? {}, trace).columns),
        "CLUSTER",
        trace,
      );
      return {};
    case "CopyStmt":
      return copied(body, traced, trace);
    default:
      return traced ? { rows: tracedRows({ tag, body }, trace) } : {};
  }
}

function inner(query: unknown, trace: Tracing): Rows {
  const node = tagged(query);
  return node === undefined ? noRows : tracedRows(node, trace);
}

function tracedRows(node: Tagged, trace: Tracing): Rows {
  const { tag, body } = node;
  switch (tag) {
    case "ExplainStmt": {
      // A plan shows constants of the text, names and numbers of rows; which rows they are, predicates decide.
      inner(body["query"], trace);
      return oneLine;
    }
    case "PrepareStmt":
    case "DeclareCursorStmt":
      inner(body["query"], trace);
      return noRows;
    case "CreateTableAsStmt":
      return kept(body["query"], "CREATE TABLE AS", trace);
    case "ViewStmt":
      return kept(body["query"], "CREATE VIEW", trace);
    default: {
      const rows = traceQuery(node, trace);
      return tag === "SelectStmt" && body["intoClause"] !== undefined ? noRows : rows;
    }
  }
}

const oneLine: Rows = { columns: [{ name: "QUERY PLAN", taint: new Set() }], shifty: false };

function kept(query: unknown, how: string, trace: Tracing): Rows {
  stores(wholeOf(inner(query, trace).columns), how, trace);
  return noRows;
}

function copied(body: Body, traced: boolean, trace: Tracing): Shown {
  if (body["is_from"] === true || !traced) return {};
  const copies = formatOf(asList(body["options"]));
  const relation = asBody(body["relation"]);
  if (relation === undefined) return { rows: inner(body["query"], trace), copies };
  const rows = relationRows(relation, trace);
  const names = strings(body["attlist"]);
  if (names.length === 0)
    return {
      rows: { ...rows, columns: rows.columns.filter(({ generated }) => generated !== true) },
      copies,
    };
  const columns = names.map(
    (name) =>
      rows.columns.find((column) => column.name === name) ?? unknownColumns(wholeOf(rows.columns)),
  );
  return { rows: { columns, shifty: false }, copies };
}

/** Options that leave the fields of a row where they are, and their characters as masks read them. */
const harmlessOptions: ReadonlySet<string> = new Set(["format", "header", "freeze"]);

function formatOf(options: readonly unknown[]): CopyFormat {
  let format = "text";
  let header = false;
  let special: string | undefined;
  for (const option of options) {
    const body = bodyOf(option, "DefElem") ?? {};
    const name = asText(body["defname"]);
    if (name === "format") format = asText(bodyOf(body["arg"], "String")?.["sval"]).toLowerCase();
    else if (name === "header") header = !isOff(body["arg"]);
    else if (!harmlessOptions.has(name) && !isUtf8(name, body["arg"])) special ??= name;
  }
  return { format, header, special };
}

function isUtf8(name: string, arg: unknown): boolean {
  return name === "encoding" && /^utf-?8$/i.test(asText(bodyOf(arg, "String")?.["sval"]));
}

function isOff(arg: unknown): boolean {
  const boolean = bodyOf(arg, "Boolean");
  if (boolean !== undefined) return boolean["boolval"] !== true;
  const word = asText(bodyOf(arg, "String")?.["sval"]).toLowerCase();
  const integer = bodyOf(arg, "Integer");
  if (integer !== undefined) return integer["ival"] !== 1;
  return word === "false" || word === "off" || word === "0";
}
