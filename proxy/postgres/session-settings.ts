// The settings that a policy holds a session to in the database itself, read-only and statement_timeout: given at startup, followed when the policy changes, kept when the agent resets.
import type { PreparedBundle } from "../../policy/decide.ts";
import type { SqlOperation } from "../../policy/operation.ts";
import { timeoutMs } from "../../policy/sql/settings.ts";
import { ProxyError } from "../errors.ts";
import type { Understood } from "./understanding.ts";

const readOnlySetting = "default_transaction_read_only";
const timeoutSetting = "statement_timeout";

/** What the upstream session is started with: the client's settings, as far as the policy leaves them. */
export function heldSettings(
  asked: Readonly<Record<string, string>>,
  prepared: PreparedBundle,
  connection: string,
): Readonly<Record<string, string>> {
  const limit = limitMs(prepared);
  return {
    ...asked,
    ...(prepared.readOnly ? { [readOnlySetting]: "on" } : {}),
    ...(limit === undefined
      ? {}
      : { [timeoutSetting]: String(smallerTimeout(asked[timeoutSetting], limit, connection)) }),
  };
}

function limitMs({ bundle }: PreparedBundle): number | undefined {
  const seconds = bundle.limits.statementTimeoutSeconds;
  return seconds === undefined ? undefined : seconds * 1000;
}

function smallerTimeout(asked: string | undefined, limit: number, connection: string): number {
  if (asked === undefined) return limit;
  const ms = timeoutMs(asked);
  if (ms === undefined)
    throw new ProxyError(
      "NotSupported",
      `connection ${connection} reads a ${timeoutSetting} at startup in milliseconds or with us, ms, s, min or h only`,
    );
  const whole = Math.ceil(ms);
  return whole === 0 ? limit : Math.min(whole, limit);
}

/**
 * Of one batch (up to Sync). What may have switched the default off (a function of the user's own that sets it, RESET ALL
 * in a session that began writable) is known only behind the batch: until then nothing may run in another transaction.
 */
type Batch = "clean" | "doubtful" | "doubtful-in-another-transaction";

export interface SessionStart {
  readonly prepared: PreparedBundle;
  /** The client itself asked for a read-only default: never taken from it. */
  readonly asked: boolean;
  /** The read-only default as the server reported it at the start; undefined before PostgreSQL 14 and behind some poolers. */
  readonly reported: string | undefined;
}

export class SessionSettings {
  readonly #start: SessionStart;
  /** The rules that the session follows; undefined: a RESET took settings back to their start. */
  #applied: PreparedBundle | undefined;
  /** The default of transactions is read-only, because the policy asks for it. */
  #readOnly: boolean;
  /** The limit that statement_timeout was last held to. */
  #limit: number | undefined;
  #batch: Batch = "clean";
  /** Something doubtful was sent, and its answer is not complete. */
  #doubt = false;

  constructor(start: SessionStart) {
    this.#start = start;
    this.#readOnly = this.#beganReadOnly;
    this.#limit = limitMs(start.prepared);
    this.#applied = this.#statements(start.prepared).length === 0 ? start.prepared : undefined;
  }

  /** What RESET goes back to. */
  get #beganReadOnly(): boolean {
    return this.#start.prepared.readOnly && this.#start.reported === "on";
  }

  get readOnly(): boolean {
    return this.#readOnly;
  }

  /** The session must be looked at before anything passes under these rules. */
  behind(prepared: PreparedBundle): boolean {
    if (this.#doubt) return true;
    if (this.#applied === prepared) return false;
    if (this.#applied === undefined || this.#statements(prepared).length > 0) return true;
    this.#applied = prepared;
    return false;
  }

  /** Statements of our own that make the session follow these rules. */
  #statements(prepared: PreparedBundle): string[] {
    const statements: string[] = [];
    if (prepared.readOnly && !this.#readOnly) statements.push(readOnlyStatement);
    if (!prepared.readOnly && this.#readOnly && !this.#start.asked)
      statements.push(writableStatement);
    const limit = limitMs(prepared);
    if (limit !== undefined && limit !== this.#limit)
      statements.push(timeoutStatement(limit, this.#limit));
    return statements;
  }

  /**
   * Runs what is needed; nothing may be outstanding.
   * @param idle no transaction is open
   */
  async follow(
    prepared: PreparedBundle,
    idle: boolean,
    run: (text: string) => Promise<unknown>,
  ): Promise<void> {
    // What the server does not report is said again: right behind the function, in its transaction, it holds there and afterwards.
    if (this.#doubt && this.#readOnly && this.#start.reported === undefined)
      await run(readOnlyStatement);
    this.#doubt = false;
    if (!idle) return;
    const statements = this.#statements(prepared);
    // From here on, and until it is on, the server may report that it is off.
    if (!prepared.readOnly) this.#readOnly = false;
    for (const statement of statements) await run(statement);
    this.#readOnly = prepared.readOnly;
    this.#limit = limitMs(prepared) ?? this.#limit;
    this.#applied = prepared;
  }

  /** Why a statement may not run in this session although the rules allow it; undefined for nearly all. */
  refuses(prepared: PreparedBundle, understood: Understood): string | undefined {
    if (!prepared.readOnly) return undefined;
    const { operation, onlyTransaction } = understood;
    const { session, facts } = operation;
    if (!this.#readOnly)
      return onlyTransaction && session?.ends === true && facts.count === 1
        ? undefined
        : "its policy allows only reads, and this transaction began before that; end it with COMMIT or ROLLBACK, then send the statement again";
    if (this.#batch === "doubtful-in-another-transaction" && !onlyTransaction)
      return "its policy allows only reads, so no other transaction can follow a function or a RESET in one pipeline; send Sync between them";
    // One text may hold a function, the end of its transaction, and another function.
    return facts.count > 2 && this.#isDoubtful(operation) && controlsTransaction(operation)
      ? "its policy allows only reads, so a function or a RESET and transaction control cannot stand in one text with more; send them one by one"
      : undefined;
  }

  /** A statement was decided and will be sent; in the order of sending. */
  passes(operation: SqlOperation): void {
    if (!this.#readOnly) return;
    // DISCARD ALL commits at once, even in a pipeline: what stands behind it is another transaction.
    if ((this.#batch === "doubtful" && controlsTransaction(operation)) || this.#resets(operation))
      this.#batch = "doubtful-in-another-transaction";
    if (this.#batch === "clean" && this.#isDoubtful(operation)) this.#batch = "doubtful";
  }

  /** What it does beside its relations cannot be seen, or it takes settings back to where they were not read-only. */
  #isDoubtful(operation: SqlOperation): boolean {
    return (
      this.#resets(operation) ||
      operation.unparsed !== undefined ||
      operation.accesses.some((access) => access.kind === "function" && !access.safe)
    );
  }

  #resets({ session }: SqlOperation): boolean {
    return session?.resets === true && !this.#beganReadOnly;
  }

  /** A statement is on its way. */
  sent(operation: SqlOperation): void {
    if (this.#readOnly && this.#isDoubtful(operation)) this.#doubt = true;
    if (operation.session?.resets !== true) return;
    this.#readOnly = this.#beganReadOnly;
    this.#limit = limitMs(this.#start.prepared);
    this.#applied = undefined;
  }

  batchEnded(): void {
    this.#batch = "clean";
  }

  /** The server reported a setting. Returns whether the session was made writable behind our back. */
  undone(name: string, value: string): boolean {
    return name === readOnlySetting && value !== "on" && this.#readOnly;
  }
}

function controlsTransaction({ facts }: SqlOperation): boolean {
  return facts.statements.includes("transaction");
}

const readOnlyStatement = `SET ${readOnlySetting} = on`;

/** Not where the role or the database has a default of its own, which the startup value hid. */
const writableStatement =
  `SELECT pg_catalog.set_config('${readOnlySetting}', 'off', false) WHERE NOT EXISTS (` +
  `SELECT FROM pg_catalog.pg_db_role_setting AS stored, pg_catalog.unnest(stored.setconfig) AS setting ` +
  `WHERE setting LIKE '${readOnlySetting}=%' AND setting NOT IN ('${readOnlySetting}=off', '${readOnlySetting}=false') ` +
  `AND stored.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user)) ` +
  `AND stored.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())))`;

/** The agent's own, smaller value stays; what stood at the last limit goes up to the new one. */
function timeoutStatement(limit: number, last: number | undefined): string {
  const raised = last === undefined || last > limit ? "" : ` OR setting::pg_catalog.int8 = ${last}`;
  return (
    `SELECT pg_catalog.set_config('${timeoutSetting}', '${limit}', false) FROM pg_catalog.pg_settings ` +
    `WHERE name = '${timeoutSetting}' AND (setting::pg_catalog.int8 = 0 OR setting::pg_catalog.int8 > ${limit}${raised})`
  );
}
