// How a refusal is said in PostgreSQL, and how the server's own errors are told where masks apply: without the values they quote.
import { ProxyError } from "../errors.ts";
import { WireError } from "./framer.ts";
import { errorResponse } from "./messages.ts";

/** An ERROR keeps the connection usable. */
export function refusalMessage(error: ProxyError): Buffer {
  return errorResponse({ severity: "ERROR", sqlstate: error.sqlstate, ...spoken(error) });
}

/** A FATAL is the last message of a connection. */
export function fatalMessage(error: ProxyError): Buffer {
  return errorResponse({ severity: "FATAL", sqlstate: error.sqlstate, ...spoken(error) });
}

function spoken(error: ProxyError): { message: string; hint: string } {
  return { message: error.message, hint: `chaperone: ${error.code}` };
}

/** What PostgreSQL itself would say of a name it does not know; nothing was refused by a rule. */
export function unknownStatement(name: string): Buffer {
  const spelled = Buffer.from(name, "latin1").toString("utf8");
  const which = name === "" ? "unnamed prepared statement" : `prepared statement "${spelled}"`;
  return errorResponse({
    severity: "ERROR",
    sqlstate: "26000",
    message: `${which} does not exist`,
  });
}

export function unknownPortal(name: string): Buffer {
  return errorResponse({
    severity: "ERROR",
    sqlstate: "34000",
    message: `portal "${name}" does not exist (cursors of SQL are read by FETCH)`,
  });
}

const notSupported = "chaperone: NotSupported";

export function replacedPortal(name: string): Buffer {
  const spelled = Buffer.from(name, "latin1").toString("utf8");
  return errorResponse({
    severity: "ERROR",
    sqlstate: "34000",
    message: `portal "${spelled}" may be another since a function ran; bind it again, or read it to its end first`,
    hint: notSupported,
  });
}

/** Functions reach the unnamed portal by the empty name. */
export function reachesUndecided(name: string): Buffer {
  const spelled = Buffer.from(name, "latin1").toString("utf8");
  return errorResponse({
    severity: "ERROR",
    sqlstate: "0A000",
    message: `portal "${spelled}" calls a function, which could run the EXECUTE of SQL in the unnamed portal before that is decided; run it by the unnamed portal, or end the transaction first`,
    hint: notSupported,
  });
}

/** FETCH, and functions that fetch, would run it by its name before it is decided. */
export function namedExecute(name: string): Buffer {
  const spelled = Buffer.from(name, "latin1").toString("utf8");
  return errorResponse({
    severity: "ERROR",
    sqlstate: "0A000",
    message: `portal "${spelled}" runs an EXECUTE of SQL, which FETCH could run before it is decided; bind it to the unnamed portal`,
    hint: notSupported,
  });
}

/** Whatever went wrong in a session, as the one kind of error a client is told. */
export function asProxyError(error: unknown, connection: string): ProxyError {
  if (error instanceof ProxyError) return error;
  if (error instanceof WireError)
    return new ProxyError("MalformedRequest", `connection ${connection}: ${error.message}`, {
      cause: error,
    });
  return new ProxyError("UpstreamProtocol", `connection ${connection} failed unexpectedly`, {
    cause: error,
  });
}

/** Classes whose messages name objects, types and states, never values of rows. */
const quietClasses: ReadonlySet<string> = new Set([
  "08", // connection
  "0A", // feature not supported
  "23", // constraints: the message names them, the values stand in Detail
  "24", // cursor state
  "25", // transaction state
  "26", // prepared statement name
  "28", // authorisation
  "2D", // transaction termination
  "34", // cursor name
  "3B", // savepoints
  "3D", // database name
  "3F", // schema name
  "40", // rollback
  "42", // syntax and names
  "53", // resources
  "54", // limits
  "55", // object state
  "57", // operator intervention
]);
/** Codes outside those classes whose messages quote nothing. */
const quietCodes: ReadonlySet<string> = new Set(["22001", "22012", "22026", "21000"]);
/** Codes inside them whose messages may quote: type mismatches print the value. */
const quotingCodes: ReadonlySet<string> = new Set(["42846", "23P01"]);
/**
 * Codes inside them that name what the text names, and what a value names just as well: `ssn::regclass`, `ssn::tsquery`. Where
 * the server points into the text (Position), the name stands there.
 */
const namingCodes: ReadonlySet<string> = new Set([
  "0A000", // feature not supported: a name with too many dots
  "3D000", // database name
  "3F000", // schema name
  "42601", // syntax
  "42602", // a name that is none
  "42622", // a name too long
  "42702", // ambiguous column
  "42703", // column
  "42704", // object
  "42725", // ambiguous function
  "42809", // object of another kind
  "42883", // function
  "42939", // reserved name
  "42P01", // relation
  "42P02", // parameter
  "54000", // a word too long
]);
/** What drivers look for when they must prepare a statement again. */
const planChanged = "cached plan must not change result type";
/** Severity, code and position. */
const keptFields: ReadonlySet<string> = new Set(["S", "V", "C", "P"]);
/** Names of objects, as PostgreSQL itself reports them. */
const nameFields: ReadonlySet<string> = new Set(["s", "t", "c", "d", "n"]);

/** Whether PostgreSQL itself chose the words, and they quote no values. Detail, Hint, Where and internal query always may. */
function isQuiet(fields: ReadonlyMap<string, string>): boolean {
  const sqlstate = fields.get("C") ?? "XX000";
  if (quotingCodes.has(sqlstate) || isSaidByCode(fields)) return false;
  if (namingCodes.has(sqlstate) && !fields.has("P") && fields.get("M") !== planChanged)
    return false;
  return quietCodes.has(sqlstate) || quietClasses.has(sqlstate.slice(0, 2));
}

/**
 * A function or trigger says what it likes under any code (RAISE … USING ERRCODE), and what PostgreSQL says of a
 * statement that one composed quotes that statement. Where (the call stack, innermost first) gives both away; COPY's
 * own line is no function.
 */
function isSaidByCode(fields: ReadonlyMap<string, string>): boolean {
  const where = fields.get("W");
  return fields.has("q") || (where !== undefined && !where.startsWith("COPY "));
}

/** The fields of an ErrorResponse that may pass while masks apply. */
export function withoutValues(fields: ReadonlyMap<string, string>): Map<string, string> {
  const quiet = isQuiet(fields);
  const kept = new Map<string, string>();
  for (const [code, value] of fields)
    if (keptFields.has(code) || (quiet && nameFields.has(code))) kept.set(code, value);
  const message = quiet
    ? (fields.get("M") ?? "")
    : `the server reported error ${fields.get("C") ?? "XX000"}; its text is withheld because masks apply to this connection`;
  kept.set("M", message);
  return kept;
}

/** The server refuses a write of its own accord (25006): without the reason people would look for it in the database. */
export function withReadOnlyHint(
  fields: ReadonlyMap<string, string>,
  sqlstate: string,
): ReadonlyMap<string, string> {
  if (sqlstate !== "25006" || fields.has("H")) return fields;
  return new Map([
    ...fields,
    ["H", "chaperone: no rule allows a write, so the session is read-only"],
  ]);
}

/** A notice whose text may quote values is not passed on at all while masks apply. */
export function noticeMayPass(fields: ReadonlyMap<string, string>): boolean {
  return isQuiet(fields);
}
