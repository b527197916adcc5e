// Prepared statements and portals of one session: what was understood at Parse is remembered for Bind and Execute.
import type { SqlOperation } from "../../policy/operation.ts";
import type { Field } from "./decode.ts";
import type { Execution } from "./execution.ts";
import { Names } from "./names.ts";
import { closeStatement, parse } from "./messages.ts";
import { Request, type RequestKind } from "./requests.ts";
import { protocolName, SqlPrepared, type Prepared } from "./sql-prepared.ts";
import type { Understood } from "./understanding.ts";
import { UnreadCode, unknownSince } from "./unread-code.ts";

/** What all sessions of a pod may keep together: 24 thousand statements that nobody shares. */
export const maxNamedTogether = 48 * 1024 * 1024;
/** What a session may keep prepared or bound; a driver that leaks statements is told so before we run out of memory. */
export const maxNamedBytes = 16 * 1024 * 1024;
/** What a statement or portal costs beside its text, names and parameters. */
const namedOverheadBytes = 1792;

/** Bytes of prepared statements and portals of all sessions. */
export class NamedTotal {
  bytes = 0;
}

export class Statement {
  readonly name: string;
  readonly understood: Understood;
  /** As the server described them, once it has. */
  parameterTypes: readonly number[];
  /** The whole PREPARE of a statement that SQL prepared. */
  readonly bySql: string | undefined;
  readonly #declaredTypes: readonly number[];
  readonly bytes: number;
  /** Of the unread code of this session (unread-code.ts), when its name last was certain to stand for this. */
  knownAt = unknownSince;
  /** Some Execute of the segment being read runs it: it is decided there, with its parameters. */
  executed = false;

  constructor(
    name: string,
    understood: Understood,
    parameterTypes: readonly number[],
    bySql?: string,
  ) {
    this.name = name;
    this.understood = understood;
    this.parameterTypes = parameterTypes;
    this.#declaredTypes = parameterTypes;
    this.bySql = bySql;
    this.bytes = understood.text.length + understood.bytes + namedOverheadBytes;
  }

  /** What its Parse or PREPARE said of parameters: with other types the same bytes are other values. */
  get declared(): string {
    return this.bySql ?? this.#declaredTypes.join(",");
  }

  /** As its Parse said it, under a name that may be taken by now. */
  saidAgain(): readonly Request[] {
    const { name, understood } = this;
    return [
      ownRequest("close-statement", closeStatement(name), this),
      ownRequest("parse", parse(name, understood.text, this.#declaredTypes), this),
    ];
  }
}

function ownRequest(kind: RequestKind, bytes: Buffer, statement: Statement): Request {
  const request = new Request(kind, bytes, 0, bytes.length);
  request.own = true;
  request.statement = statement;
  return request;
}

/** Rows and bytes a result has given so far, over all its Executes. */
export interface Quota {
  rows: number;
  bytes: number;
}

export class Portal {
  readonly name: string;
  readonly statement: Statement;
  readonly operation: SqlOperation;
  readonly #kept: Buffer | string;
  /** Of its Bind message, whose parameters are kept. */
  readonly bytes: number;
  readonly quota: Quota = { rows: 0, bytes: 0 };
  /** A Describe of it is answered or under way while masks apply. */
  described = false;
  /** The row shape the server described; undefined until it did or when it returns no rows. */
  fields: readonly Field[] | undefined = undefined;
  execution: Execution | undefined = undefined;
  executed = false;
  /** As `knownAt` of statements. */
  knownAt = unknownSince;
  /** Of an EXECUTE of SQL: what its name stood for when the server described it. */
  runs: Prepared | Statement | undefined = undefined;

  /** @param kept the parameters, as bytes or spelled as latin1 */
  constructor(
    name: string,
    statement: Statement,
    operation: SqlOperation,
    kept: Buffer | string,
    bytes: number,
  ) {
    this.name = name;
    this.statement = statement;
    this.operation = operation;
    this.#kept = kept;
    this.bytes = bytes + namedOverheadBytes;
  }

  /** Formats and values exactly as sent, from where they stand in the Bind message on. */
  get parameters(): Buffer {
    return typeof this.#kept === "string" ? Buffer.from(this.#kept, "latin1") : this.#kept;
  }

  /** Digest input of the parameters. */
  exact(): string {
    return `${this.statement.declared}\0${this.parameters.toString("base64")}`;
  }

  /** It was decided at Bind and never executed: its event says so. */
  abandon(): void {
    const { execution } = this;
    if (!this.executed) execution?.finish("ok", execution.startedAt);
  }
}

export class Registry {
  readonly statements = new Names<Statement>();
  readonly portals = new Names<Portal>();
  readonly unread = new UnreadCode();
  /** Code that nobody here has read was sent to run, ever. */
  ranCode = false;
  readonly #inSql = new SqlPrepared();
  readonly #total: NamedTotal;
  #batch = 0;
  #bytes = 0;
  #over = false;

  constructor(total: NamedTotal) {
    this.#total = total;
  }

  get batch(): number {
    return this.#batch;
  }

  /** Which bound would be exceeded by so many bytes more; undefined for none. */
  exceeds(bytes: number): string | undefined {
    if (this.#bytes + bytes > maxNamedBytes) return `of this session exceed ${maxNamedBytes} bytes`;
    return this.#total.bytes + bytes > maxNamedTogether
      ? `of all sessions of this pod exceed ${maxNamedTogether} bytes`
      : undefined;
  }

  /** The session is over. */
  close(): void {
    this.#count(-this.#bytes);
    this.#over = true;
  }

  #count(bytes: number): void {
    if (this.#over) return;
    this.#bytes += bytes;
    this.#total.bytes += bytes;
  }

  endBatch(): void {
    this.#batch += 1;
    this.statements.endBatch();
    this.portals.endBatch();
  }

  /** A request that changes names is being sent. */
  sent(request: Request): void {
    request.batch = this.#batch;
    switch (request.kind) {
      case "parse":
        this.statements.change(request.name, request.statement);
        this.#count(request.statement?.bytes ?? 0);
        break;
      case "close-statement":
        this.statements.change(request.name, undefined);
        break;
      case "bind":
        this.portals.change(request.name, request.portal);
        this.#count(request.portal?.bytes ?? 0);
        break;
      case "close-portal":
        this.portals.change(request.name, undefined);
        break;
      case "execute":
      case "query":
        if (request.execution?.understood.runsCode === true) this.codeRan();
        if (request.changesNames) {
          this.statements.doubt();
          this.portals.doubt();
        }
        break;
      default:
    }
  }

  /** The server answered a request that names something. */
  applied(request: Request): void {
    const here = request.batch === this.#batch;
    switch (request.kind) {
      case "parse":
        this.#replaced(request.name);
        this.#forgetInSql(request.name);
        this.statements.applied(request.name, request.statement, here);
        break;
      case "close-statement":
        this.#replaced(request.name);
        this.#forgetInSql(request.name);
        this.statements.applied(request.name, undefined, here);
        break;
      case "bind":
        this.#closed(this.portals.confirmed(request.name));
        this.portals.applied(request.name, request.portal, here);
        break;
      case "close-portal":
        this.#closed(this.portals.confirmed(request.name));
        this.portals.applied(request.name, undefined, here);
        break;
      default:
        this.#settleDoubt(request, here);
    }
  }

  /** The server skipped a request, or it was never sent. */
  dropped(request: Request): void {
    if ((request.own || request.saysAgain) && request.statement !== undefined)
      request.statement.knownAt = unknownSince;
    if (request.own) return;
    const here = request.batch === this.#batch;
    switch (request.kind) {
      case "parse":
        this.#count(-(request.statement?.bytes ?? 0));
        this.statements.settled(here);
        // A failing Parse of the unnamed statement leaves none (exec_parse_message drops it first).
        if (request.name === "" && request.failed) this.forgetUnnamed();
        break;
      case "poison":
        if (request.forgetsUnnamed && request.failed) this.forgetUnnamed();
        break;
      case "close-statement":
        this.statements.settled(here);
        break;
      case "bind":
        this.#closed(request.portal);
        this.portals.settled(here);
        break;
      case "close-portal":
        this.portals.settled(here);
        break;
      default:
        this.#settleDoubt(request, here);
    }
  }

  /** A Parse of the unnamed statement was refused: the one before must not run in its place. */
  forgetUnnamed(): void {
    this.#replaced("");
    this.statements.forget("");
  }

  /** What Bind and Describe mean by a name, whichever way it was prepared. */
  statement(name: string): Statement | "wait" | "settle" | undefined {
    return this.statements.find(name) ?? this.#inSql.get(name)?.statement;
  }

  /** What `EXECUTE name` runs; undefined when no such statement is known, or its name may just be changing. */
  preparedAs(name: string): Prepared | Statement | undefined {
    if (!this.statements.settledAll) return undefined;
    const byProtocol = this.statements.confirmed(name);
    const certain = byProtocol !== undefined && this.unread.isKnown(byProtocol);
    return this.#inSql.get(name) ?? (certain ? byProtocol : undefined);
  }

  /** Code that nobody here has read is about to run, or has run: it may have given a name to another statement. */
  codeRan(): void {
    this.ranCode = true;
    this.#count(-this.#inSql.forgetAll());
  }

  /** A command that changes names by SQL is done. */
  commandTag(
    tag: string,
    { text, nameUse }: Understood,
    study: (text: string) => Understood,
  ): void {
    switch (tag) {
      case "PREPARE":
        if (nameUse?.kind !== "prepare") this.#forgetStatements();
        else {
          const name = protocolName(nameUse.name);
          this.#forgetNamed(name);
          const understood = study(nameUse.query);
          const statement = new Statement(name, understood, [], text);
          this.#count(this.#inSql.add(name, { text, understood, statement }));
        }
        break;
      case "DEALLOCATE":
        if (nameUse?.kind !== "deallocate" || nameUse.name === undefined) this.#forgetStatements();
        else this.#forgetNamed(protocolName(nameUse.name));
        break;
      case "DEALLOCATE ALL":
        this.#forgetStatements();
        break;
      case "DISCARD ALL":
        this.#forgetStatements();
        this.transactionEnded();
        break;
      case "DECLARE CURSOR":
      case "CLOSE CURSOR":
      case "CLOSE CURSOR ALL":
        this.transactionEnded();
        break;
      default:
    }
  }

  /** Portals do not outlive their transaction, nor a command that may give their names to cursors. */
  transactionEnded(): void {
    if (this.portals.size === 0) return;
    this.portals.each(this.#closed);
    this.portals.forgetAll();
  }

  readonly #closed = (portal: Portal | undefined): void => {
    if (portal === undefined) return;
    this.#count(-portal.bytes);
    portal.abandon();
  };

  #replaced(name: string): void {
    this.#count(-(this.statements.confirmed(name)?.bytes ?? 0));
  }

  #forgetNamed(name: string): void {
    this.#replaced(name);
    this.statements.forget(name);
    this.#forgetInSql(name);
  }

  #forgetInSql(name: string): void {
    this.#count(-this.#inSql.forget(name));
  }

  /** SQL reaches named statements only (DropAllPreparedStatements); the unnamed one stays. */
  #forgetStatements(): void {
    this.statements.each(({ name, bytes }) => {
      if (name !== "") this.#count(-bytes);
    });
    this.statements.forgetAll("");
    this.#count(-this.#inSql.forgetAll());
  }

  #settleDoubt(request: Request, here: boolean): void {
    if (!request.changesNames) return;
    this.statements.settled(here);
    this.portals.settled(here);
  }
}
