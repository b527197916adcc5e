// Replication: a connection that asks for it is decided before it is made, and each command of its protocol as one operation of kind `replication`.
import type { Bundle } from "../../policy/bundle.ts";
import type { SqlOperation } from "../../policy/operation.ts";
import { ProxyError } from "../errors.ts";
import type { GateSession, LiveGrant } from "../pipeline.ts";
import type { Exchange } from "./exchange.ts";
import type { Replication } from "./startup-parameters.ts";
import { understand } from "./understanding.ts";
import type { Understood } from "./understanding.ts";

/**
 * Words that begin a command of the walsender and no statement of SQL (repl_scanner.l). The server looks at the first word
 * alone, too: no comment may stand before it.
 */
const commandPattern =
  /^[ \t\n\r\f\v]*(identify_system|base_backup|start_replication|create_replication_slot|drop_replication_slot|alter_replication_slot|read_replication_slot|timeline_history|upload_manifest)(?![\w$\u0080-\uffff])/i;

/** SHOW is a word of SQL as well: only where the whole text is one SHOW does it not matter who reads it. */
const showPattern =
  /^[ \t\n\r\f\v]*(show)[ \t\n\r\f\v]+[a-z_][\w.]*[ \t\n\r\f\v]*;?[ \t\n\r\f\v]*$/i;

/** Commands behind which the client's next bytes may be data. */
const takesData: ReadonlySet<string> = new Set(["START_REPLICATION", "UPLOAD_MANIFEST"]);

const maxSummaryLength = 200;

/** The walsender command that a text is; undefined where the server would take it for SQL. */
export function walsenderCommand(text: string): string | undefined {
  const found = commandPattern.exec(text) ?? showPattern.exec(text);
  return found?.[1]?.toUpperCase();
}

/** Understands the texts of a replication session: its own commands first, all else is SQL. */
export function studyReplication(
  study: (text: string) => Understood,
): (text: string) => Understood {
  return (text) => {
    const command = walsenderCommand(text);
    if (command === undefined) return parsedAlone(study(text));
    const understood = understand(text, { operation: replicationOperation(summaryOf(text)) });
    return { ...understood, replicates: true, copies: takesData.has(command) };
  };
}

/** What the grammar cannot parse may be a command of a newer walsender. */
function parsedAlone(understood: Understood): Understood {
  const { unparsed, ...operation } = understood.operation;
  return unparsed === undefined ? understood : { ...understood, operation };
}

function summaryOf(text: string): string {
  const line = text.replaceAll(/[\s\p{Cc}]+/gu, " ").trim();
  return line.length > maxSummaryLength ? `${line.slice(0, maxSummaryLength)}…` : line;
}

/** Never covered unless a rule names `replication`. */
function replicationOperation(summary: string): SqlOperation {
  return {
    kind: "sql",
    summary,
    accesses: [{ kind: "statement", statement: "replication", opaque: true }],
    facts: {
      statements: ["replication"],
      relationsRead: [],
      relationsWritten: [],
      columns: [],
      functions: [],
      hasWhere: false,
      count: 1,
    },
    params: [],
  };
}

/** What of these rules a stream of changes would void: it shows every row and column there is. */
export function voidedByReplication(bundle: Bundle): string | undefined {
  const { columnMasks, detectMasks, limits } = bundle;
  if (columnMasks.length + detectMasks.length > 0)
    return "replication shows every column as it is, so it is refused while any mask applies to the connection";
  if (limits.rowsPerResult !== undefined || limits.bytesPerResult !== undefined)
    return "replication streams without end, so it is refused while limits.rowsPerResult or limits.bytesPerResult apply to the connection";
  return undefined;
}

/** Asks the gate; what a stream would void is refused whatever the rules say. */
async function ask(
  operation: SqlOperation,
  bundle: Bundle,
  session: GateSession,
  connection: string,
  signal: AbortSignal,
): Promise<void> {
  const text = operation.summary;
  const voided = voidedByReplication(bundle);
  const passage = await session.pass(
    voided === undefined ? operation : { ...operation, unrecognised: voided },
    { exact: () => text, content: () => ({ part: "request", text }), signal },
  );
  if (voided === undefined) {
    if (!passage.go) throw passage.error;
    passage.done({ status: "ok" });
    return;
  }
  if (passage.go) passage.done({ status: "denied", error: "MaskNotProvable" });
  throw new ProxyError("MaskNotProvable", `connection ${connection}: ${voided}`);
}

/**
 * Decides whether this connection may be one for replication, before the database hears of it.
 *
 * @throws ProxyError what the client is told
 */
export function admitReplication(
  kind: Replication,
  { bundle }: LiveGrant,
  session: GateSession,
  connection: string,
  signal: AbortSignal,
): Promise<void> {
  const operation = replicationOperation(`${kind} replication connection`);
  return ask(operation, bundle, session, connection, signal);
}

/** A stream has no end at which new rules could be asked: they are asked before more of it passes. */
export function streamOutlivedRules(exchange: Exchange): boolean {
  const execution = exchange.queue.head?.execution;
  if (execution?.understood.replicates !== true || execution.generation === undefined) return false;
  const { generation } = exchange;
  return generation !== undefined && generation !== execution.generation;
}

/** @throws ProxyError what ends the stream */
export async function askStreamAgain(exchange: Exchange): Promise<void> {
  const execution = exchange.queue.head?.execution;
  const grant = exchange.options.gate.current();
  if (execution === undefined || grant === undefined) return;
  execution.generation = grant.bundle.generation;
  const { session } = exchange.options;
  await ask(execution.operation, grant.bundle, session, exchange.connection, session.ended);
}

/** The server says so as an error; what a client sends behind it would have to be skipped to a Sync. */
export function simpleQueriesOnly(connection: string): ProxyError {
  return new ProxyError(
    "NotSupported",
    `connection ${connection}: a replication connection takes simple queries only; use another connection for the rest`,
  );
}
