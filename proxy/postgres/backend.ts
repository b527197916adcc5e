// Server to client: matches every message to the request it answers, masks and counts rows, and keeps the order and the status true.
import { ProxyError } from "../errors.ts";
import {
  readFields,
  readParameterStatus,
  readParameterTypes,
  readRowDescription,
  readString,
  stringEnd,
} from "./decode.ts";
import type { Field } from "./decode.ts";
import type { Exchange } from "./exchange.ts";
import type { Execution } from "./execution.ts";
import { Framer, headerBytes, maxInspectedBytes, tooLong, WireError } from "./framer.ts";
import type { FrameSink } from "./framer.ts";
import { backend, fieldsMessage, message } from "./messages.ts";
import type { Request } from "./requests.ts";
import type { Portal } from "./statements.ts";
import { passNotice, settingMayPass } from "./notices.ts";
import { withoutValues, withReadOnlyHint } from "./refusal.ts";
import { Results } from "./results.ts";

/** Calls into the client's direction. */
export interface FrontendSide {
  /** A request got its answer, or COPY began. */
  answered(request: Request): void;
  /** The server skips everything until Sync; no Sync was forwarded yet. */
  skip(): void;
  /** A result ended early, before its Sync was forwarded: the batch must not commit. */
  fail(): void;
  /** Forwarding may go on. */
  wake(): void;
}

export interface BackendHooks {
  /** A session setting changed (application_name …), or one of the pinned ones did, which ends the session. */
  parameter(name: string, value: string): void;
  /** ReadyForQuery went to the client and nothing is outstanding. */
  settled(): void;
}

/** query_canceled: what a statement that we cancel ends with. */
const cancelled = "57014";

/** No message of a server is longer (MaxAllocSize). */
const maxServerMessageBytes = 1024 * 1024 * 1024;

export class Backend implements FrameSink {
  readonly framer = new Framer(this, maxServerMessageBytes);
  /** A message waits for memory. */
  blocked = false;
  readonly #x: Exchange;
  readonly #frontend: FrontendSide;
  readonly #hooks: BackendHooks;
  readonly #results: Results;
  /** Recorded as soon as their answers are on their way. */
  readonly #complete: Execution[] = [];
  /** The server said FATAL: its closing needs no word of ours. */
  saidFatal = false;

  constructor(exchange: Exchange, frontend: FrontendSide, hooks: BackendHooks) {
    this.#x = exchange;
    this.#frontend = frontend;
    this.#hooks = hooks;
    this.#results = new Results(exchange, frontend);
  }

  /** The server sent a chunk; without one, what waits goes on. */
  push(chunk?: Buffer): void {
    try {
      if (chunk === undefined) this.framer.resume();
      else this.framer.push(chunk);
      this.#x.client.flush();
    } finally {
      this.#record();
    }
    this.#x.progress();
    this.#frontend.wake();
  }

  admits(total: number): boolean {
    const admitted = this.#x.share.admits(total);
    this.blocked = !admitted;
    return admitted;
  }

  /** There may be memory again. */
  resume(): void {
    if (!this.blocked) return;
    this.blocked = false;
    this.push();
  }

  /** The client need not wait for it. */
  #record(): void {
    if (this.#complete.length === 0) return;
    for (const execution of this.#complete) execution.finish("ok", execution.completedAt);
    this.#complete.length = 0;
  }

  limit(type: number): number {
    if (type === backend.dataRow || type === backend.functionCallResponse)
      return this.#results.rowLimit();
    return type === backend.copyData ? this.#results.copyLimit() : maxInspectedBytes;
  }

  oversize(type: number, total: number, limit: number): void {
    if (type !== backend.dataRow && type !== backend.copyData) throw tooLong(total, limit);
    this.#results.oversize(total, limit);
  }

  piece(type: number, buffer: Buffer, start: number, end: number, last: boolean): void {
    this.#x.inPiece = !last;
    this.#pass(buffer, start, end);
    this.#results.piece(type, buffer, start, end, last);
  }

  message(type: number, buffer: Buffer, start: number, end: number): void {
    switch (type) {
      case backend.dataRow:
      case backend.copyData:
      case backend.functionCallResponse:
        this.#results.row(type, buffer, start, end);
        return;
      case backend.parseComplete:
      case backend.bindComplete:
      case backend.closeComplete:
        this.#named(type, buffer, start, end);
        return;
      case backend.rowDescription:
      case backend.noData:
      case backend.parameterDescription:
        this.#described(type, buffer, start, end);
        return;
      case backend.commandComplete:
      case backend.emptyQuery:
      case backend.portalSuspended:
        this.#completed(type, buffer, start, end);
        return;
      case backend.readyForQuery:
        this.#ready(buffer, start, end);
        return;
      case backend.error:
        this.#error(buffer, start, end);
        return;
      case backend.copyIn:
      case backend.copyBoth:
      case backend.copyOut:
        this.#copy(type, buffer, start, end);
        return;
      case backend.copyDone:
        this.#pass(buffer, start, end);
        return;
      case backend.notice:
        passNotice(this.#x, buffer, start, end);
        return;
      case backend.parameterStatus:
        this.#parameter(buffer, start, end);
        return;
      case backend.notification:
        this.#notification(buffer, start, end);
        return;
      default:
        throw new WireError(
          `the server sent a message of type ${type}, which is not expected here`,
        );
    }
  }

  #pass(buffer: Buffer, start: number, end: number): void {
    if (!this.#x.muted) this.#x.client.pass(buffer, start, end);
  }

  #head(): Request {
    const head = this.#x.queue.head;
    if (head === undefined) throw new WireError("the server answered what nobody asked");
    return head;
  }

  #shift(request: Request): void {
    this.#x.queue.shift();
    this.#frontend.answered(request);
  }

  #named(type: number, buffer: Buffer, start: number, end: number): void {
    const head = this.#head();
    if (head.capture !== undefined) return;
    const fits =
      type === backend.parseComplete
        ? head.kind === "parse"
        : type === backend.bindComplete
          ? head.kind === "bind"
          : head.kind === "close-statement" || head.kind === "close-portal";
    if (!fits) throw new WireError(`the server answered ${head.kind} with type ${type}`);
    if (!head.own) {
      this.#x.registry.applied(head);
      this.#pass(buffer, start, end);
    }
    this.#shift(head);
  }

  #described(type: number, buffer: Buffer, start: number, end: number): void {
    const head = this.#head();
    if (head.capture !== undefined) return;
    if (type === backend.parameterDescription) {
      if (head.kind !== "describe-statement")
        throw new WireError("unexpected ParameterDescription");
      if (head.statement !== undefined)
        head.statement.parameterTypes = readParameterTypes(buffer, start, end);
      this.#pass(buffer, start, end);
      return;
    }
    switch (head.kind) {
      case "query":
        if (head.execution !== undefined) this.#results.shape(head.execution, buffer, start, end);
        this.#pass(buffer, start, end);
        return;
      case "describe-portal":
        if (type === backend.rowDescription && head.portal?.described === true)
          head.portal.fields = fieldsOf(head.portal, buffer, start, end);
        break;
      case "describe-statement":
        break;
      default:
        throw new WireError(`the server answered ${head.kind} with type ${type}`);
    }
    if (!head.own) this.#pass(buffer, start, end);
    this.#shift(head);
  }

  #completed(type: number, buffer: Buffer, start: number, end: number): void {
    const head = this.#head();
    if (head.capture !== undefined) return;
    const { execution } = head;
    if ((head.kind !== "execute" && head.kind !== "query") || execution === undefined)
      throw new WireError(`the server answered ${head.kind} with type ${type}`);
    this.#x.copyIn = undefined;
    this.#results.complete(execution);
    // A command that sent rows is counted already; the tag of any other says how many it changed.
    const countless = execution.rows === execution.rowsBefore;
    if (type === backend.commandComplete && (countless || head.changesNames)) {
      const tag = readString(buffer, start + headerBytes, end);
      if (countless) execution.rows += affectedRows(tag);
      if (head.changesNames)
        this.#x.registry.commandTag(tag, execution.understood, this.#x.options.study);
    }
    if (execution.understood.runsCode) this.#x.registry.codeRan();
    execution.rowsBefore = execution.rows;
    this.#pass(buffer, start, end);
    if (head.kind === "query") return;
    if (head.changesNames) this.#x.registry.applied(head);
    this.#done(execution);
    this.#shift(head);
  }

  #done(execution: Execution): void {
    execution.completedAt = this.#x.now();
    this.#complete.push(execution);
    if (execution.understood.changesSchema) this.#schemaChanged();
  }

  /** Whoever goes by what was read before reads it again. */
  #schemaChanged(): void {
    this.#x.options.masks.outdated();
    this.#x.options.overloads.outdated();
  }

  #ready(buffer: Buffer, start: number, end: number): void {
    const head = this.#head();
    if (head.kind !== "sync" && head.kind !== "query")
      throw new WireError(`the server is ready but owes the answer to ${head.kind}`);
    const x = this.#x;
    const status = String.fromCharCode(buffer[start + headerBytes] ?? 0);
    if (end - start !== headerBytes + 1 || (status !== "I" && status !== "T" && status !== "E"))
      throw new WireError("a ReadyForQuery without a status");
    x.status = status;
    x.copyIn = undefined;
    if (status === "I") x.registry.transactionEnded();
    if (head.changesNames && head.kind === "query") x.registry.applied(head);
    if (head.execution !== undefined && head.kind === "query") this.#done(head.execution);
    x.muted = false;
    x.stopped = undefined;
    if (!head.own) x.client.pass(buffer, start, end);
    this.#shift(head);
    head.capture?.done();
    if (x.queue.size > 0) return;
    if (status === "I") {
      x.options.masks.cursors.transactionEnded();
      x.openCursors.transactionEnded();
      if (x.changes.settled()) this.#schemaChanged();
    }
    this.#hooks.settled();
  }

  #error(buffer: Buffer, start: number, end: number): void {
    const x = this.#x;
    const fields = readFields(buffer, start, end);
    const sqlstate = fields.get("C") ?? "XX000";
    if (fields.get("V") !== "ERROR") this.saidFatal = true;
    const head = x.queue.head;
    x.copyIn = undefined;
    const shown = x.options.masks.active ? withoutValues(fields) : fields;
    const kept = x.settings.readOnly ? withReadOnlyHint(shown, sqlstate) : shown;
    if (head?.capture !== undefined) head.capture.done(`${sqlstate} ${fields.get("M") ?? ""}`);
    else if (!x.muted) {
      if (head?.kind === "poison" && head.refusal !== undefined) x.client.send(head.refusal);
      else if (x.stopped !== undefined && sqlstate === cancelled) x.client.send(x.stopped);
      else if (kept === fields) x.client.pass(buffer, start, end);
      else x.client.send(fieldsMessage(backend.error, kept));
    }
    if (head === undefined) return;
    head.failed = true;
    if (head.execution?.understood.runsCode === true) x.registry.codeRan();
    const said = `${fields.get("V") ?? "ERROR"} ${sqlstate}: ${kept.get("M") ?? ""}`;
    if (head.kind === "execute" || head.kind === "query")
      head.execution?.finish("error", x.now(), said);
    if (head.syncAmidData)
      throw new ProxyError(
        "MalformedRequest",
        `connection ${x.connection}: a Sync came amid COPY data that failed, so nobody can tell whether it counts; send CopyDone or CopyFail first`,
      );
    if (head.kind !== "query" && head.kind !== "sync") this.#skipToSync(head);
  }

  /** After an error the server ignores everything until Sync (PostgresMain: ignore_till_sync). */
  #skipToSync(failed: Request): void {
    const { queue } = this.#x;
    for (let head = queue.head; head !== undefined; head = queue.head) {
      if (head.kind === "sync") return;
      queue.shift();
      this.#x.drop(
        head,
        "error",
        head === failed ? "ERROR" : "skipped after an error in the same pipeline",
      );
      this.#frontend.answered(head);
    }
    // What the ReadyForQuery to come will say: whoever looks now must not ask the server anything.
    if (this.#x.status === "T") this.#x.status = "E";
    this.#frontend.skip();
  }

  #copy(type: number, buffer: Buffer, start: number, end: number): void {
    const head = this.#head();
    if ((head.kind !== "execute" && head.kind !== "query") || head.execution === undefined)
      throw new WireError(`the server answered ${head.kind} with COPY`);
    if (type === backend.copyBoth && head.execution.understood.replicates !== true)
      throw new WireError("the server began to stream changes, which nobody asked for");
    if (type !== backend.copyOut) {
      if (!head.execution.understood.copies)
        throw new WireError("the server began COPY for a statement that was understood as none");
      this.#x.copyIn = head;
    } else if (this.#x.options.masks.detects) {
      this.#results.fail(
        new ProxyError(
          "MaskNotProvable",
          `connection ${this.#x.connection} masks what detectors find, which COPY TO would show; use SELECT`,
        ),
      );
    } else this.#results.copyShape(head.execution, buffer, start, end);
    this.#pass(buffer, start, end);
    this.#frontend.answered(head);
  }

  /** A trigger may send a masked column's value along: under masks a notification tells that something happened, and where. */
  #notification(buffer: Buffer, start: number, end: number): void {
    if (!this.#x.options.masks.active) {
      this.#x.client.pass(buffer, start, end);
      return;
    }
    const channel = start + headerBytes + 4;
    const channelEnd = stringEnd(buffer, channel, end);
    const body = Buffer.concat([
      buffer.subarray(start + headerBytes, channelEnd + 1),
      Buffer.of(0),
    ]);
    this.#x.client.send(message(backend.notification, body));
  }

  #parameter(buffer: Buffer, start: number, end: number): void {
    const { name, value } = readParameterStatus(buffer, start, end);
    this.#hooks.parameter(name, value);
    if (settingMayPass(this.#x, name)) this.#x.client.pass(buffer, start, end);
  }
}

/** `INSERT 0 5` and `UPDATE 3` say how many; `CREATE TABLE` says nothing. */
function affectedRows(tag: string): number {
  const digits = /(\d+)$/.exec(tag)?.[1];
  return digits === undefined ? 0 : Number(digits);
}

function fieldsOf(portal: Portal, buffer: Buffer, start: number, end: number): readonly Field[] {
  const masking = portal.execution?.masking;
  return masking === undefined
    ? readRowDescription(buffer, start, end)
    : masking.fields(portal.statement.understood.shape, buffer, start, end);
}
