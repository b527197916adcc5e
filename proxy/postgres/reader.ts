// Turns client messages into requests: looks up the names they use, understands the texts they bring, and notes what they will change.
import { ProxyError } from "../errors.ts";
import type { SqlOperation } from "../../policy/operation.ts";
import type { SqlNameUse } from "../../policy/sql/sql-names.ts";
import {
  readBind,
  readExecute,
  readParameters,
  readParse,
  readQuery,
  readTarget,
} from "./decode.ts";
import type { ParseBody } from "./decode.ts";
import { apart } from "./chunks.ts";
import type { Exchange } from "./exchange.ts";
import { Execution } from "./execution.ts";
import { headerBytes, WireError } from "./framer.ts";
import { understandCall } from "./function-call.ts";
import type { CalledFunction } from "./function-call.ts";
import { errorResponse, frontend, parse, query } from "./messages.ts";
import { namedExecute, refusalMessage, unknownPortal, unknownStatement } from "./refusal.ts";
import { Request } from "./requests.ts";
import { executionBySql, protocolName } from "./sql-prepared.ts";
import { Portal, Statement } from "./statements.ts";
import { understand } from "./understanding.ts";
import type { Understood } from "./understanding.ts";

export interface Read {
  readonly request: Request;
  /** Nothing behind it may be read before it is answered. */
  readonly waits: boolean;
}

/** Parameters up to this length are kept as text, which costs a fifth of a buffer of their own. */
const maxKeptAsText = 1024;

type Unsettled = "wait" | "settle";

/**
 * The server keeps names in tables of fixed keys (NAMEDATALEN), so longer ones with the same beginning are one to it. They are
 * refused rather than cut, because a pooler in between may tell them apart.
 */
const maxNameBytes = 63;

export class Reader {
  readonly #x: Exchange;

  constructor(exchange: Exchange) {
    this.#x = exchange;
  }

  /**
   * A name it uses is being changed by an earlier batch (`wait`) or by this one (`settle`); ask again when that is answered.
   *
   * @param first everything before it is answered
   */
  read(type: number, buffer: Buffer, start: number, end: number, first: boolean): Read | Unsettled {
    switch (type) {
      case frontend.query:
        return this.#query(buffer, start, end);
      case frontend.parse:
        return this.#parse(buffer, start, end);
      case frontend.bind:
        return this.#bind(buffer, start, end, first);
      case frontend.describe:
        return this.#describe(buffer, start, end);
      case frontend.execute:
        return this.#execute(buffer, start, end, first);
      case frontend.close:
        return this.#close(buffer, start, end);
      case frontend.flush:
        return flows(new Request("flush", buffer, start, end));
      default:
        throw new WireError(`a client message of type ${type} is not expected here`);
    }
  }

  /** Stands in the place of a message that is too long to be looked into. */
  oversize(type: number, total: number, limit: number): Read {
    const what = statementMessages.get(type) ?? "message";
    const why = `a ${what} of ${total} bytes exceeds the limit of ${limit} bytes; send large values as parameters or by COPY`;
    const refusal = refusalMessage(
      new ProxyError("TooLarge", `connection ${this.#x.connection}: ${why}`),
    );
    if (type !== frontend.query && type !== frontend.functionCall) return refused(refusal);
    const understood = textless("statement that is too large", why);
    const request = new Request("query", refusal, 0, 0);
    request.execution = new Execution(understood, understood.operation, undefined);
    request.refusal = refusal;
    return flows(request);
  }

  #query(buffer: Buffer, start: number, end: number): Read | "wait" {
    const understood = this.#understand(readQuery(buffer, start, end));
    const { nameUse, replaced, text } = understood;
    const request = replaced
      ? whole("query", query(text))
      : new Request("query", buffer, start, end);
    if (nameUse?.kind === "execute") {
      if (this.#x.queue.size > 0) return "wait";
      request.execution = this.#executeBySql(understood, nameUse.name, nameUse.values);
      return { request, waits: this.#waitsBehind(request.execution.understood) };
    }
    request.execution = new Execution(understood, understood.operation, undefined);
    if (nameUse?.kind === "prepare") request.refusal = this.#noRoom(understood.text.length);
    request.changesNames = understood.changesNames;
    this.#x.registry.sent(request);
    return { request, waits: this.#waitsBehind(understood) };
  }

  #understand({ text, isUtf8 }: Pick<ParseBody, "text" | "isUtf8">): Understood {
    return isUtf8 ? this.#x.options.study(text) : notUtf8;
  }

  /** Nothing is outstanding: what the name stands for is certain, or not known and refused as the server would. */
  #executeBySql(
    understood: Understood,
    name: string,
    values: readonly (string | null)[],
  ): Execution {
    const known = protocolName(name);
    const prepared = this.#x.registry.preparedAs(known);
    if (prepared !== undefined) return executionBySql(prepared, values, understood.text);
    const unknown = { ...understood, syntaxError: unknownStatement(known) };
    return new Execution(unknown, understood.operation, undefined);
  }

  #parse(buffer: Buffer, start: number, end: number): Read {
    const body = readParse(buffer, start, end);
    const { name, text, parameterTypes } = body;
    if (isTooLong(name)) return refused(this.#tooLongName());
    const noRoom = this.#noRoom(text.length);
    if (noRoom !== undefined) return refused(noRoom);
    const understood = this.#understand(body);
    const request = understood.replaced
      ? whole("parse", parse(name, understood.text, parameterTypes))
      : new Request("parse", buffer, start, end);
    request.name = name;
    request.statement = new Statement(name, understood, parameterTypes);
    this.#x.registry.sent(request);
    return flows(request);
  }

  #bind(buffer: Buffer, start: number, end: number, first: boolean): Read | Unsettled {
    const body = readBind(buffer, start, end);
    if (isTooLong(body.portal) || isTooLong(body.statement)) return refused(this.#tooLongName());
    const statement = this.#x.registry.statement(body.statement);
    if (statement === "wait" || statement === "settle") return statement;
    if (statement === undefined) return refused(unknownStatement(body.statement));
    const { nameUse } = statement.understood;
    if (nameUse?.kind === "execute" && body.portal !== "")
      return refused(namedExecute(body.portal));
    const bySql = statement.bySql !== undefined || nameUse?.kind === "execute";
    // What is still to run might give the name to another statement.
    if (bySql && !first) return "settle";
    const noRoom = this.#noRoom(end - start);
    if (noRoom !== undefined) return refused(noRoom);
    const { values } = readParameters(buffer, body.parametersAt, end, statement.parameterTypes);
    const { operation } = statement.understood;
    const bound = values.length === 0 ? operation : { ...operation, params: values };
    const kept = parametersToKeep(buffer, body.parametersAt, end);
    const request = new Request("bind", buffer, start, end);
    request.name = body.portal;
    request.statement = statement;
    request.portal = new Portal(body.portal, statement, bound, kept, end - start);
    if (nameUse?.kind === "execute")
      request.portal.runs = this.#x.registry.preparedAs(protocolName(nameUse.name));
    this.#x.registry.sent(request);
    return flows(request);
  }

  #describe(buffer: Buffer, start: number, end: number): Read | Unsettled {
    const target = readTarget(buffer, start, end);
    if (isTooLong(target.name)) return refused(this.#tooLongName());
    if (target.statement) {
      const statement = this.#x.registry.statement(target.name);
      if (statement === "wait" || statement === "settle") return statement;
      if (statement === undefined) return refused(unknownStatement(target.name));
      const request = new Request("describe-statement", buffer, start, end);
      request.statement = statement;
      return flows(request);
    }
    const portal = this.#x.registry.portals.find(target.name);
    if (portal === "wait" || portal === "settle") return portal;
    const request = new Request("describe-portal", buffer, start, end);
    // psycopg describes cursors that it declared in SQL; a description runs nothing.
    if (portal === undefined) return flows(request);
    request.portal = portal;
    request.statement = portal.statement;
    return flows(request);
  }

  #execute(buffer: Buffer, start: number, end: number, first: boolean): Read | Unsettled {
    const { portal: name } = readExecute(buffer, start, end);
    if (isTooLong(name)) return refused(this.#tooLongName());
    const portal = this.#x.registry.portals.find(name);
    if (portal === "wait" || portal === "settle") return portal;
    if (portal === undefined) return refused(unknownPortal(name));
    const request = new Request("execute", buffer, start, end);
    request.portal = portal;
    request.statement = portal.statement;
    const { nameUse } = portal.statement.understood;
    const executes = nameUse?.kind === "execute" ? nameUse : undefined;
    if (executes !== undefined && !first) return "settle";
    const run = executes === undefined ? undefined : this.#runByPortal(portal, executes);
    request.execution = executionOf(portal, this.#x, run);
    const { understood } = request.execution;
    request.changesNames = executes === undefined && understood.changesNames;
    this.#x.registry.sent(request);
    const waits = this.#waitsBehind(understood) || (this.#limited && understood.returnsFromWrite);
    return { request, waits };
  }

  /** What comes next may be data, or is decided by what this text leaves or its answer shows. */
  #waitsBehind(understood: Understood): boolean {
    return (
      understood.copies ||
      this.#isWaitedFor(understood) ||
      (!understood.onlyTransaction &&
        this.#x.options.gate.current()?.prepared.followsAnswers === true)
    );
  }

  /** What stands behind it is decided by what it leaves: functions, the search path, what relations there are. */
  #isWaitedFor(understood: Understood): boolean {
    const { path, options } = this.#x;
    if (understood.addsFunctions || path.waitsBehind(understood)) return true;
    return understood.changesSchema && options.gate.current()?.prepared.followed !== undefined;
  }

  /** An EXECUTE of SQL in a portal: by now its name may stand for another statement than the one that the server described at Bind. */
  #runByPortal(
    portal: Portal,
    { name, values }: SqlNameUse & { readonly kind: "execute" },
  ): () => Execution {
    const known = protocolName(name);
    const prepared = this.#x.registry.preparedAs(known);
    const { understood } = portal.statement;
    if (prepared !== undefined && prepared === portal.runs)
      return () => executionBySql(prepared, values, understood.text, portal);
    const unknown = { ...understood, syntaxError: unknownStatement(known) };
    return () => new Execution(unknown, understood.operation, portal);
  }

  /** A result that a limit cuts off must not commit what its statement wrote: its Sync waits for its answer. */
  get #limited(): boolean {
    const limits = this.#x.options.gate.current()?.bundle.limits;
    return limits?.rowsPerResult !== undefined || limits?.bytesPerResult !== undefined;
  }

  #close(buffer: Buffer, start: number, end: number): Read {
    const target = readTarget(buffer, start, end);
    if (isTooLong(target.name)) return refused(this.#tooLongName());
    const kind = target.statement ? "close-statement" : "close-portal";
    const request = new Request(kind, buffer, start, end);
    request.name = target.name;
    this.#x.registry.sent(request);
    return flows(request);
  }

  /** @param called undefined: no rule could allow it, or its name cannot be asked for now. It is answered like a Query. */
  functionCall(
    buffer: Buffer,
    start: number,
    end: number,
    called: CalledFunction | undefined,
  ): Request {
    const request = new Request("query", buffer, start, end);
    const understood =
      called?.name === undefined
        ? unnamedCall
        : understandCall(called.name, buffer.subarray(start + headerBytes, end));
    request.execution = new Execution(understood, understood.operation, undefined);
    request.callsFunction = true;
    if (called?.name === undefined) request.refusal = this.#refuseCall();
    return request;
  }

  #refuseCall(): Buffer {
    return refusalMessage(
      new ProxyError(
        "NotSupported",
        `connection ${this.#x.connection}: this function call of the protocol is refused; use SELECT`,
      ),
    );
  }

  #tooLongName(): Buffer {
    return refusalMessage(
      new ProxyError(
        "NotSupported",
        `connection ${this.#x.connection}: a name of a prepared statement or portal has at most ${maxNameBytes} bytes; use a shorter one`,
      ),
    );
  }

  /** Undefined where there is room. */
  #noRoom(bytes: number): Buffer | undefined {
    const exceeded = this.#x.registry.exceeds(bytes);
    if (exceeded === undefined) return undefined;
    return refusalMessage(
      new ProxyError(
        "TooLarge",
        `connection ${this.#x.connection}: the prepared statements and portals ${exceeded}; close some first`,
      ),
    );
  }
}

/** Decided at Bind already or continued under one approval, while rules and marks are the same; else decided now. */
function executionOf(
  portal: Portal,
  { generation, options }: Pick<Exchange, "generation" | "options">,
  run: (() => Execution) | undefined,
): Execution {
  const { execution } = portal;
  const isSame =
    execution?.generation === generation && execution?.passage?.marks === options.session.marks;
  if (execution?.passage !== undefined && isSame) {
    const continues = execution.passage.decision.verdict === "hold";
    if (continues || !portal.executed) {
      portal.executed = true;
      return execution;
    }
  }
  // One that was executed is recorded when it is answered, which may still be to come.
  portal.abandon();
  const { statement } = portal;
  statement.executed = true;
  portal.executed = true;
  portal.execution = run?.() ?? new Execution(statement.understood, portal.operation, portal);
  return portal.execution;
}

/** The parameters stay as long as their portal, the chunk they came in does not. */
function parametersToKeep(buffer: Buffer, start: number, end: number): Buffer | string {
  return end - start <= maxKeptAsText
    ? buffer.toString("latin1", start, end)
    : apart(buffer.subarray(start, end));
}

/** Names are bytes spelled as latin1. */
function isTooLong(name: string): boolean {
  return name.length > maxNameBytes;
}

/** What is refused without a text to understand. */
function textless(summary: string, unrecognised: string): Understood {
  const operation: SqlOperation = {
    kind: "sql",
    summary,
    accesses: [],
    unrecognised,
    facts: {
      statements: ["other"],
      relationsRead: [],
      relationsWritten: [],
      columns: [],
      functions: [],
      hasWhere: false,
      count: 1,
    },
    params: [],
  };
  return understand("", { operation });
}

/** Refused in the server's own words; a rule that allows what is not recognised leaves it to the server. */
const notUtf8: Understood = {
  ...textless("statement that is not UTF-8", "its text is not UTF-8"),
  syntaxError: errorResponse({
    severity: "ERROR",
    sqlstate: "22021",
    message: 'invalid byte sequence for encoding "UTF8"',
  }),
};

const unnamedCall = textless(
  "function call of the protocol",
  "a function call of the protocol names its function by number; a rule has to allow the function by name, no masks may apply, and it cannot stand in a pipeline or a failed transaction",
);

const statementMessages: ReadonlyMap<number, string> = new Map([
  [frontend.query, "Query"],
  [frontend.parse, "Parse"],
  [frontend.bind, "Bind"],
]);

/** A request of a message that was written anew. */
function whole(kind: "query" | "parse", bytes: Buffer): Request {
  return new Request(kind, bytes, 0, bytes.length);
}

function flows(request: Request): Read {
  return { request, waits: false };
}

/** Stands in the place of a message that names something unknown; the batch fails there. */
function refused(answer: Buffer): Read {
  const request = new Request("poison", answer, 0, 0);
  request.refusal = answer;
  return flows(request);
}
