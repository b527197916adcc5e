// SET, SHOW, RESET and set_config: the closed list that drivers live on, and what is pinned.
//
// The dialect is part of what was decided: with another search_path, role, encoding or quoting the same text means something
// else. So a setting is either on the list below or refused whatever the rules say. RESET ALL and DISCARD ALL go back to
// the values of the startup message, which are the proxy's own.
import type { SessionEffects } from "../operation.ts";
import { asBody, asList, asText, bodyOf, constantText, strings, type Body } from "./ast.ts";

export type SettingVerdict =
  | { readonly ok: true; readonly basic: boolean; readonly session?: SessionEffects }
  | { readonly ok: false; readonly sentence: string };

type Check = "any" | ((value: string) => boolean);

/** The settings that end what takes too long. */
const timeouts: ReadonlySet<string> = new Set([
  "idle_in_transaction_session_timeout",
  "lock_timeout",
  "statement_timeout",
  "transaction_timeout",
]);
export const isTimeout = (name: string): boolean => timeouts.has(name);

/** An hour: long enough for every driver's default, short enough that a statement cannot run for ever. */
const maxTimeoutMs = 60 * 60 * 1000;
export const maxTimeout = "1h";
const unitMs: Readonly<Record<string, number>> = {
  "": 1,
  us: 0.001,
  ms: 1,
  s: 1000,
  min: 60_000,
  h: 3_600_000,
};

const isOn = (value: string): boolean => ["on", "true", "yes", "1"].includes(value.toLowerCase());
const isUtf8 = (value: string): boolean =>
  ["utf8", "utf-8", "unicode"].includes(value.toLowerCase());
/**
 * With no path a bare name is PostgreSQL's own or an error: what was decided for `public` cannot run, and nothing else can
 * run in its place, because temporary objects are refused. pg_dump and the scripts it writes begin with it.
 */
const isEmptyPath = (value: string): boolean => value === "" || value === '""';

/** Milliseconds of a timeout as PostgreSQL reads it; undefined when it is written in another way than `5000`, `5s`, `1.5 min`. */
export function timeoutMs(value: string): number | undefined {
  const match = /^(\d{1,12}(?:\.\d{1,6})?) *(us|ms|s|min|h)?$/.exec(value.trim());
  return match === null ? undefined : Number(match[1]) * (unitMs[match[2] ?? ""] ?? Number.NaN);
}

/** Zero switches a timeout off. */
export const isBoundedTimeout = (value: string): boolean => {
  const ms = timeoutMs(value);
  return ms !== undefined && ms >= 1 && ms <= maxTimeoutMs;
};

const settable: ReadonlyMap<string, Check> = new Map<string, Check>([
  ...[...timeouts].map((name): [string, Check] => [name, isBoundedTimeout]),
  ["application_name", "any"],
  ["bytea_output", "any"],
  ["check_function_bodies", "any"],
  ["client_encoding", isUtf8],
  ["client_min_messages", "any"],
  ["datestyle", "any"],
  // Where and how tables to come are stored; what a script of pg_dump sets before each.
  ["default_table_access_method", "any"],
  ["default_tablespace", "any"],
  ["default_transaction_deferrable", "any"],
  ["default_transaction_isolation", "any"],
  ["default_transaction_read_only", isOn],
  ["extra_float_digits", "any"],
  ["intervalstyle", "any"],
  // asyncpg switches it off around its type look-ups.
  ["jit", "any"],
  // How the server spells names in the definitions it shows.
  ["quote_all_identifiers", "any"],
  // Takes kinds of relations away from this session; pg_dump counts on it.
  ["restrict_nonsystem_relation_kind", (value) => value.trim() !== ""],
  // Off never shows more: what a row policy would filter becomes an error.
  ["row_security", "any"],
  ["search_path", isEmptyPath],
  ["standard_conforming_strings", isOn],
  ["synchronize_seqscans", "any"],
  ["timezone", "any"],
  ["transaction_deferrable", "any"],
  ["transaction_isolation", "any"],
  ["transaction_read_only", isOn],
  ["xmloption", "any"],
]);

const showable: ReadonlySet<string> = new Set([
  ...settable.keys(),
  "in_hot_standby",
  "integer_datetimes",
  "is_superuser",
  "lc_collate",
  "lc_ctype",
  "lc_monetary",
  "lc_numeric",
  "max_identifier_length",
  "max_index_keys",
  "role",
  "server_encoding",
  "server_version",
  "server_version_num",
  "session_authorization",
]);

const basic: SettingVerdict = { ok: true, basic: true };
const ruled: SettingVerdict = { ok: true, basic: false };
const resets: SettingVerdict = { ok: true, basic: true, session: { resets: true } };
const readWrite: SettingVerdict = { ok: true, basic: false, session: { readWrite: true } };

/** Settings that a policy holds a session to: taking one back to its start is told apart. */
const held: ReadonlySet<string> = new Set(["default_transaction_read_only", "statement_timeout"]);

function pinned(name: string): SettingVerdict {
  return {
    ok: false,
    sentence: `SET ${name} is pinned by Chaperone; leave it as the connection has it`,
  };
}

/** The path that names are resolved by (proxy/postgres/startup-parameters.ts). */
function isPinnedPath(values: readonly (string | undefined)[]): boolean {
  return values.length === 2 && values[0] === "public" && values[1] === "pg_temp";
}

function assign(rawName: string, value: string | undefined): SettingVerdict {
  const name = rawName.toLowerCase();
  const check = settable.get(name);
  if (check === undefined) return pinned(name);
  if (check === "any") return basic;
  if (value === undefined || !check(value)) return pinned(`${name} to this value`);
  const ms = name === "statement_timeout" ? timeoutMs(value) : undefined;
  return ms === undefined ? basic : { ok: true, basic: true, session: { statementTimeoutMs: ms } };
}

/** Back to the value of the startup message; but SET ROLE and its like have none that could be relied on. */
function restore(name: string): SettingVerdict {
  if (!settable.has(name)) return pinned(name);
  if (held.has(name)) return resets;
  // Before PostgreSQL 16 this makes a read-only transaction writable again, as long as it has not begun to read.
  return name === "transaction_read_only" ? readWrite : basic;
}

/** The verdict on a VariableSetStmt. */
export function setStatement(body: Body): SettingVerdict {
  const name = asText(body["name"]);
  const args = asList(body["args"]);
  switch (asText(body["kind"])) {
    case "VAR_SET_VALUE":
      if (name.toLowerCase() === "search_path" && isPinnedPath(args.map(constantText)))
        return basic;
      return assign(name, args.length === 1 ? constantText(args[0]) : undefined);
    case "VAR_SET_DEFAULT":
    case "VAR_RESET":
      return restore(name.toLowerCase());
    case "VAR_RESET_ALL":
      return resets;
    case "VAR_SET_MULTI":
      // Another transaction's view of the same tables: parallel pg_dump shares one.
      return name === "TRANSACTION SNAPSHOT" ? ruled : transactionModes(args);
    default:
      return pinned(name.toLowerCase());
  }
}

/** READ WRITE undoes a default that the database may count on, so it needs a rule. */
export function transactionModes(options: readonly unknown[]): SettingVerdict {
  for (const item of options) {
    const option = bodyOf(item, "DefElem");
    if (option === undefined) return ruled;
    const name = asText(option["defname"]);
    if (name === "transaction_read_only" && !isOn(constantText(option["arg"]) ?? ""))
      return readWrite;
  }
  return basic;
}

export function showStatement(body: Body): SettingVerdict {
  return showable.has(asText(body["name"]).toLowerCase()) ? basic : ruled;
}

/**
 * `set_config(name, value, local)` is SET by another name; what it sets must be readable here.
 * @param settingName what a bare `name` is in this place: see `onlySettingOf`
 */
export function setConfigCall(
  args: readonly unknown[],
  settingName: string | undefined,
): SettingVerdict {
  const named = args.some((argument) => bodyOf(argument, "NamedArgExpr") !== undefined);
  const isNameColumn = strings(bodyOf(args[0], "ColumnRef")?.["fields"]).join(".") === "name";
  const name = named ? undefined : isNameColumn ? settingName : writtenText(args[0]);
  if (name === undefined) {
    return {
      ok: false,
      sentence:
        "set_config of a setting that is not a constant is refused; write its name as a literal",
    };
  }
  const [, value] = args;
  const text = writtenText(value);
  if (text === undefined && bodyOf(value, "ParamRef") === undefined) {
    return {
      ok: false,
      sentence:
        "set_config to a value that is not a constant is refused, because settings are reported to the client; write it as a literal or parameter",
    };
  }
  return assign(name, text);
}

/** A literal as it arrives: casts other than to text may change it (`'01'::char(1)` is 0). */
function writtenText(value: unknown): string | undefined {
  const cast = bodyOf(value, "TypeCast");
  const type = strings(asBody(cast?.["typeName"])?.["names"]).join(".");
  if (cast === undefined) return constantText(value);
  return type === "text" || type === "pg_catalog.text" ? writtenText(cast["arg"]) : undefined;
}

/**
 * The one value of `name` in `SELECT … FROM pg_settings WHERE name = 'x'`, which is how pg_dump sets what an older server may not
 * know. Undefined for any other query.
 */
export function onlySettingOf(query: Body): string | undefined {
  const from = asList(query["fromClause"]);
  const relation = from.length === 1 ? bodyOf(from[0], "RangeVar") : undefined;
  if (relation === undefined || asText(relation["relname"]) !== "pg_settings") return undefined;
  if (relation["alias"] !== undefined || query["withClause"] !== undefined) return undefined;
  if (!["", "pg_catalog"].includes(asText(relation["schemaname"]))) return undefined;
  const where = bodyOf(query["whereClause"], "A_Expr");
  if (where === undefined || asText(where["kind"]) !== "AEXPR_OP") return undefined;
  if (strings(where["name"]).join(".") !== "=") return undefined;
  if (strings(bodyOf(where["lexpr"], "ColumnRef")?.["fields"]).join(".") !== "name")
    return undefined;
  const text = asBody(bodyOf(where["rexpr"], "A_Const")?.["sval"]);
  return text === undefined ? undefined : asText(text["sval"]);
}

/** SET inside ALTER ROLE, ALTER DATABASE, ALTER SYSTEM: it would change sessions to come, so nothing is on its list. */
export function storedSetting(body: Body): string {
  const name = asText(asBody(body["setstmt"])?.["name"]).toLowerCase();
  return `SET ${name === "" ? "ALL" : name} for sessions to come is pinned by Chaperone`;
}
