// What a client may set at startup, by name or in `options`: a closed list. The dialect (search_path, encoding, string syntax) is ours, because the SQL is understood under it.
import { switchesOff } from "../../policy/sql/setting-substitutes.ts";
import { isBoundedTimeout, isTimeout, maxTimeout } from "../../policy/sql/settings.ts";
import { ProxyError } from "../errors.ts";
import { readOptions } from "./startup-options.ts";

/** Settings that change how values look or how long things may take, never what a statement means. */
const passed: ReadonlySet<string> = new Set([
  "application_name",
  "datestyle",
  "intervalstyle",
  "timezone",
  "extra_float_digits",
  "bytea_output",
  "jit",
  "default_transaction_isolation",
  "default_transaction_read_only",
  "client_min_messages",
]);

/** Recognised names are resolved to `public`; pg_catalog comes first by itself, temporary tables last so that they shadow nothing. */
export const pinnedSettings: Readonly<Record<string, string>> = {
  client_encoding: "UTF8",
  standard_conforming_strings: "on",
  search_path: "public, pg_temp",
};

/** `physical` streams the write-ahead log of the whole server, `logical` the decoded changes of one database, beside SQL. */
export type Replication = "physical" | "logical";

const notSettings: ReadonlySet<string> = new Set(["user", "database", "replication"]);
const startupValue: Readonly<Record<Replication, string>> = {
  physical: "true",
  logical: "database",
};
const offWords: ReadonlySet<string> = new Set(["", "0", "off", "false", "no"]);
const onWords: ReadonlySet<string> = new Set(["1", "on", "true", "yes"]);

const maxValueLength = 256;
/** Names that tools put there by themselves; they say nothing about a chain. */
const toolNames: ReadonlySet<string> = new Set([
  "psql",
  "pgbench",
  "pg_dump",
  "pg_restore",
  "pg_isready",
  "asyncpg",
  "npgsql",
]);
const chainPattern = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$/;

export interface Startup {
  readonly user: string;
  /** Undefined when the client leaves it to the server. */
  readonly database: string | undefined;
  /** For the upstream: the client's, as far as they may pass, under the pinned ones. */
  readonly settings: Readonly<Record<string, string>>;
  readonly chain: string | undefined;
  readonly label: string | undefined;
  /** Asks to stream changes instead of running SQL. */
  readonly replication: Replication | undefined;
}

export function readStartupParameters(
  parameters: ReadonlyMap<string, string>,
  connection: string,
): Startup {
  const user = parameters.get("user") ?? "";
  const settings: Record<string, string> = {};
  const replication = replicationOf(parameters.get("replication"), connection);
  const set = (name: string, value: string): void => {
    // The server takes names in any case, and of one given twice the last.
    if (!isPinned(name, value, connection))
      settings[name.toLowerCase()] = passedValue(name, value, connection);
  };
  for (const [name, value] of parameters) {
    if (notSettings.has(name) || name.startsWith("_pq_.")) continue;
    if (name === "options") for (const [option, given] of readOptions(value)) set(option, given);
    else set(name, value);
  }
  const database = parameters.get("database");
  const label = settings["application_name"];
  return {
    user,
    // libpq sends the user name when no database is asked for.
    database: database === "" || database === user ? undefined : database,
    settings: {
      ...settings,
      ...pinnedSettings,
      ...(replication === undefined ? {} : { replication: startupValue[replication] }),
    },
    replication,
    chain: label === undefined ? undefined : chainOf(label),
    label,
  };
}

/** The chain that an application_name claims; tools' own names claim none. */
export function chainOf(applicationName: string): string | undefined {
  if (toolNames.has(applicationName.toLowerCase())) return undefined;
  return chainPattern.test(applicationName) ? applicationName : undefined;
}

/** Where the session goes: the Connection's database, or the client's where the Connection names none. */
export function chooseDatabase(
  startup: Startup,
  fixed: string | undefined,
  connection: string,
): string | undefined {
  // The server's whole log is of no database; clients name one called "replication" all the same.
  if (startup.replication === "physical") return fixed;
  if (fixed === undefined) return startup.database;
  if (startup.database === undefined || startup.database === fixed) return fixed;
  throw new ProxyError(
    "ConnectionUnknown",
    `connection ${connection} leads to database "${fixed}", not to "${startup.database}"; connect to "${fixed}"`,
  );
}

/** As the server reads it: a word for on or off, or `database`. */
function replicationOf(value: string | undefined, connection: string): Replication | undefined {
  const said = value?.toLowerCase() ?? "";
  if (offWords.has(said)) return undefined;
  if (said === "database") return "logical";
  if (onWords.has(said)) return "physical";
  throw new ProxyError(
    "NotSupported",
    `connection ${connection} reads the startup parameter replication as true, false or database only`,
  );
}

/** Whether the parameter is one of the pinned ones; asking for another value than ours is refused. */
function isPinned(name: string, value: string, connection: string): boolean {
  const lower = name.toLowerCase();
  const said = value.trim().toLowerCase();
  switch (lower) {
    case "client_encoding":
      if (/^['"]?(?:utf-?8|unicode|sql_ascii)['"]?$/.test(said)) return true;
      break;
    case "standard_conforming_strings":
      if (["on", "true", "yes", "1"].includes(said)) return true;
      break;
    case "search_path":
      if (/^("\$user"\s*,\s*)?"?public"?$/.test(said)) return true;
      break;
    default:
      return false;
  }
  throw new ProxyError(
    "NotSupported",
    `connection ${connection} does not let a client set ${lower} at startup; leave it out`,
  );
}

function passedValue(name: string, value: string, connection: string): string {
  if (isTimeout(name.toLowerCase())) return timeoutValue(name, value, connection);
  if (!passed.has(name.toLowerCase()))
    throw new ProxyError(
      "NotSupported",
      `connection ${connection} does not let a client set ${printable(name)} at startup; leave it out`,
    );
  // The database may count on a read-only default; it can be asked for, not undone.
  if (name.toLowerCase() === "default_transaction_read_only" && value.toLowerCase() !== "on")
    throw new ProxyError(
      "NotSupported",
      `connection ${connection} lets a client set ${name} to on only`,
    );
  if (value.length > maxValueLength)
    throw new ProxyError(
      "NotSupported",
      `connection ${connection}: the startup parameter ${name} is longer than ${maxValueLength} characters`,
    );
  return value;
}

/** As SET does (policy/sql/settings.ts): none is the longest there is. */
function timeoutValue(name: string, value: string, connection: string): string {
  if (switchesOff(value)) return maxTimeout;
  if (isBoundedTimeout(value)) return value;
  throw new ProxyError(
    "NotSupported",
    `connection ${connection} does not let a client set ${name} to this value at startup; ask for ${maxTimeout} or less`,
  );
}

function printable(name: string): string {
  return name.slice(0, 64).replaceAll(/[^\w.]/g, "?");
}
