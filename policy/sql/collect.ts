// Turns what the walk reports into the accesses and facts that rules are decided on.
import type {
  Access,
  FunctionAccess,
  RelationAccess,
  SessionEffects,
  StatementAccess,
  StatementKind,
} from "../operation.ts";
import { dotted, type CatalogNames, type QualifiedName } from "./catalog-names.ts";
import { isLookUpRelation, isSystemSchema } from "./catalog-relations.ts";
import { meantBy, type RelationUse } from "./scope.ts";
import { joinEffects } from "./session-effects.ts";
import type { ColumnUse, Sink, StatementNote } from "./walk-context.ts";

/** What a caller knows of the database; without it names are over-approximated. */
export interface SqlResolver {
  /** Columns of `schema.name`, or undefined when the relation is unknown. */
  columnsOf(relation: string): ReadonlySet<string> | undefined;
  /** Names of functions in `public`: one that shares its name with a catalog function may be what an unqualified call means. */
  readonly publicFunctions?: ReadonlySet<string>;
}

/** Distinct relations or functions of one statement; look-ups among them are linear. */
const maxDistinct = 512;

const tooMany = `the statement names more than ${maxDistinct} different relations or functions; split it into smaller ones`;

interface OpenRelation {
  readonly use: RelationUse;
  readonly columns: Set<string>;
  allColumns: boolean;
}

export interface Collected {
  readonly accesses: readonly Access[];
  readonly refusals: readonly string[];
  readonly session: SessionEffects | undefined;
}

export interface Collector {
  readonly sink: Sink;
  /** The accesses of one top-level statement; the collector is empty afterwards. */
  finish(): Collected;
}

export function createCollector(names: CatalogNames, resolver: SqlResolver | undefined): Collector {
  let relations: OpenRelation[] = [];
  let functions: FunctionAccess[] = [];
  let statements: StatementAccess[] = [];
  let refusals: string[] = [];
  let effects: SessionEffects | undefined;

  const refuse = (sentence: string): void => {
    if (!refusals.includes(sentence)) refusals.push(sentence);
  };
  const open = (use: RelationUse): OpenRelation => {
    const known = relations.find((candidate) => sameRelation(candidate.use, use));
    if (known !== undefined) return known;
    const added: OpenRelation = { use, columns: new Set(), allColumns: false };
    if (relations.length < maxDistinct) relations.push(added);
    else refuse(tooMany);
    return added;
  };
  const name = (use: RelationUse, column: string): void => {
    open(use).columns.add(column);
  };
  const whole = (use: RelationUse): void => {
    open(use).allColumns = true;
  };

  const column = (use: ColumnUse): void => {
    if (use.ignored || refusals.length > 0) return;
    const qualifier = use.star ? use.path : use.path.slice(0, -1);
    const last = use.path[use.path.length - 1] ?? "";
    const items = meantBy(use);
    for (const item of items) {
      for (const relation of item.relations) {
        if (use.star) whole(relation);
        else if (mayHave(relation, last, qualifier.length > 0, resolver)) name(relation, last);
        // A bare alias is the whole row.
        if (!use.star && qualifier.length === 0 && item.alias === last) whole(relation);
      }
    }
    if (!use.star && qualifier.length > 0)
      rowFunction(
        items.flatMap((item) => item.relations),
        last,
        use.statement,
      );
  };

  /** `t.f` calls f(t) when t has no column f; without a resolver every catalog function that takes a row counts. */
  const rowFunction = (
    candidates: readonly RelationUse[],
    last: string,
    statement: StatementKind,
  ): void => {
    for (const relation of candidates) {
      const columns = resolver?.columnsOf(dotted(relation.schema, relation.name));
      if (columns === undefined) {
        if (names.isRowFunction(last)) whole(relation);
      } else if (!columns.has(last) && !systemColumns.has(last)) {
        whole(relation);
        call(names.resolveFunction(undefined, last), statement, true);
      }
    }
  };

  const call = (called: QualifiedName, statement: StatementKind, bare: boolean): void => {
    const access: FunctionAccess = {
      kind: "function",
      statement,
      function: dotted(called.schema, called.name),
      safe: names.isSafeFunction(called),
    };
    if (
      bare &&
      called.schema !== "public" &&
      resolver?.publicFunctions?.has(called.name) === true
    ) {
      call({ schema: "public", name: called.name }, statement, false);
    }
    if (
      functions.some((known) => known.statement === statement && known.function === access.function)
    )
      return;
    if (functions.length < maxDistinct) functions.push(access);
    else refuse(tooMany);
  };

  const note = (
    statement: StatementKind,
    { opaque = false, basic = false, session }: StatementNote,
  ): void => {
    effects = joinEffects(effects, session);
    const known = statements.some(
      (other) =>
        other.statement === statement &&
        (other.opaque === true) === opaque &&
        (other.basic === true) === basic,
    );
    if (known) return;
    statements.push({
      kind: "statement",
      statement,
      ...(opaque ? { opaque } : {}),
      ...(basic ? { basic } : {}),
    });
  };

  const within = (wrapper: StatementKind, run: () => void): void => {
    const before = relations.length;
    run();
    if (wrapper === "explain") {
      const inside = relations.slice(before);
      for (const { use, columns, allColumns } of inside) {
        relations.push({
          use: { ...use, statement: "explain" },
          columns: new Set(columns),
          allColumns,
        });
      }
      if (inside.length === 0) note("explain", {});
    } else if (wrapper === "copy") note("copy", {});
    else if (!touched(wrapper)) note(wrapper, { basic: wrapper === "select" });
  };
  const touched = (kind: StatementKind): boolean =>
    relations.some(({ use }) => use.statement === kind) ||
    functions.some(({ statement }) => statement === kind) ||
    statements.some(({ statement }) => statement === kind);

  const sink: Sink = {
    relation: (use) => void open(use),
    column,
    listed: (use, columns) => {
      if (columns === "all") whole(use);
      else for (const listed of columns) name(use, listed);
    },
    join: (using, items) => {
      for (const relation of items.flatMap((item) => item.relations)) {
        if (using === "natural") whole(relation);
        else for (const shared of using) name(relation, shared);
      }
    },
    call,
    operator: (operator, statement) => {
      if (operator.schema !== "pg_catalog") call(operator, statement, false);
    },
    cast: (type, statement) => {
      if (!isSystemSchema(type.schema)) call(type, statement, false);
    },
    attribute: (attribute, statement) => {
      if (!recordFields.has(attribute) || resolver?.publicFunctions?.has(attribute) === true)
        call(names.resolveFunction(undefined, attribute), statement, true);
    },
    statement: note,
    refuse,
    within,
  };

  const finish = (): Collected => {
    const collected = {
      accesses: [...relations.map(relationAccess), ...functions, ...statements],
      refusals,
      session: effects,
    };
    effects = undefined;
    relations = [];
    functions = [];
    statements = [];
    refusals = [];
    return { ...collected, accesses: withFunctionBasics(collected.accesses) };
  };
  return { sink, finish };
}

/** Reads of one relation add up; each write stands for itself, because each has its own WHERE. */
function sameRelation(one: RelationUse, other: RelationUse): boolean {
  if (one === other) return true;
  const isWrite =
    other.statement === "update" ||
    other.statement === "delete" ||
    other.statement === "insert" ||
    other.statement === "merge";
  return (
    !isWrite &&
    one.statement === other.statement &&
    one.schema === other.schema &&
    one.name === other.name &&
    one.only === other.only &&
    one.leadsTo === other.leadsTo
  );
}

const systemColumns: ReadonlySet<string> = new Set([
  "tableoid",
  "ctid",
  "xmin",
  "xmax",
  "cmin",
  "cmax",
]);
/**
 * `(f(x)).name` is a field or a call of name(…), and only the catalog can tell; these are the fields of the catalog
 * functions that drivers expand. Any other needs to be allowed as the function `public.name`.
 */
const recordFields: ReadonlySet<string> = new Set(["key", "value", "n", "x"]);

function mayHave(
  relation: RelationUse,
  column: string,
  qualified: boolean,
  resolver: SqlResolver | undefined,
): boolean {
  if (qualified) return true;
  const columns = resolver?.columnsOf(dotted(relation.schema, relation.name));
  return columns === undefined || columns.has(column) || systemColumns.has(column);
}

function relationAccess({ use, columns, allColumns }: OpenRelation): RelationAccess {
  const relation = dotted(use.schema, use.name);
  return {
    kind: "relation",
    statement: use.statement,
    relation,
    columns: [...columns].map((column) => dotted(use.schema, use.name, column)),
    allColumns,
    ...(use.hasWhere === undefined ? {} : { hasWhere: use.hasWhere }),
    ...(use.only === true ? { only: true as const } : {}),
    ...(use.leadsTo === undefined ? {} : { leadsTo: use.leadsTo }),
    ...(use.cascades === true ? { cascades: true as const } : {}),
    ...(use.statement === "select" && isLookUpRelation(relation) ? { basic: true as const } : {}),
  };
}

/** A safe function is part of the session's basics where nothing but look-ups is read. */
function withFunctionBasics(accesses: readonly Access[]): Access[] {
  const onlyBasics = accesses.every(
    (access) => access.kind === "function" || ("basic" in access && access.basic === true),
  );
  return accesses.map((access) =>
    access.kind === "function" && onlyBasics && access.safe && access.statement === "select"
      ? { ...access, basic: true as const }
      : access,
  );
}
