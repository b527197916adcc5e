// Rows on their way to the client: counted, limited, masked, kept for the recording, and ended early where a limit or a mask says so.
import { ProxyError } from "../errors.ts";
import type { FrontendSide } from "./backend.ts";
import { endsBinaryCopy, maskBinaryCopyRow } from "./copy-binary.ts";
import { maskCopyRow } from "./copy-rows.ts";
import { readCopyResponse } from "./decode.ts";
import type { Exchange } from "./exchange.ts";
import type { Execution } from "./execution.ts";
import { tooLong, WireError } from "./framer.ts";
import type { Detected, Masking, Plan, ResultShape } from "./masking.ts";
import { MarkingDetected } from "./marking-detected.ts";
import { backend } from "./messages.ts";
import { refusalMessage } from "./refusal.ts";
import { RowWriter } from "./row-writer.ts";

/** A row under masks is looked at whole; a longer one cannot be shown. */
export const maxMaskedRowBytes = 8 * 1024 * 1024;

export class Results {
  readonly #x: Exchange;
  readonly #frontend: FrontendSide;
  readonly #writer: RowWriter;
  /** Bytes of the large row being passed on in pieces. */
  #pieceBytes = 0;

  constructor(exchange: Exchange, frontend: FrontendSide) {
    this.#x = exchange;
    this.#frontend = frontend;
    this.#writer = new RowWriter(exchange.client);
  }

  /** Longest DataRow to look at whole; 0 where rows may pass in pieces. */
  rowLimit(): number {
    const head = this.#x.queue.head;
    return head?.capture !== undefined || head?.execution?.masking !== undefined
      ? maxMaskedRowBytes
      : 0;
  }

  /** Longest CopyData to look at whole. */
  copyLimit(): number {
    const plan = this.#x.queue.head?.execution?.plan;
    return plan === undefined || plan === null ? 0 : maxMaskedRowBytes;
  }

  /** A RowDescription for a simple query. */
  shape(execution: Execution, buffer: Buffer, start: number, end: number): void {
    execution.plan = undefined;
    const { masking, understood } = execution;
    if (masking === undefined) return;
    const fields = masking.fields(understood.shape, buffer, start, end);
    this.#take(
      execution,
      masking.plan(fields, this.#detected(execution, masking), this.#of(execution)),
    );
  }

  /** COPY TO begins. */
  copyShape(execution: Execution, buffer: Buffer, start: number, end: number): void {
    execution.plan = undefined;
    const { masking } = execution;
    if (masking === undefined) return;
    const { format, columns } = readCopyResponse(buffer, start, end);
    this.#take(execution, masking.copyPlan(columns, format !== 0, this.#of(execution)));
  }

  #detected(execution: Execution, masking: Masking): Detected {
    if (!masking.detects) return nothingDetected;
    const { detectedMarks } = masking;
    execution.detected ??=
      detectedMarks === undefined
        ? new Map()
        : new MarkingDetected(detectedMarks, (marks) =>
            this.#x.options.session.mark(marks, execution.operation),
          );
    return execution.detected;
  }

  #of(execution: Execution): ResultShape {
    const { understood, statement } = execution;
    return { text: understood.shape, statement, cursors: this.#x.options.masks.cursors };
  }

  /** Returns whether rows may come. */
  #take(execution: Execution, plan: Plan): boolean {
    if (plan === "unknown") this.#failUnknown();
    else if (plan !== undefined && "refused" in plan)
      this.fail(
        new ProxyError("MaskNotProvable", `connection ${this.#x.connection}: ${plan.refused}`),
      );
    else {
      // Before the first row: what the agent does next is decided with it.
      if (plan?.marks !== undefined) this.#x.options.session.mark(plan.marks, execution.operation);
      execution.setPlan(plan);
      return true;
    }
    return false;
  }

  /** One whole row: a DataRow or, under COPY TO, a CopyData. */
  row(type: number, buffer: Buffer, start: number, end: number): void {
    const head = this.#x.queue.head;
    if (head?.capture !== undefined) {
      head.capture.row(buffer, start, end);
      return;
    }
    const execution = head?.execution;
    if (
      head === undefined ||
      execution === undefined ||
      (head.kind !== "execute" && head.kind !== "query")
    )
      throw new WireError("the server sent a row that nobody asked for");
    if ((type === backend.functionCallResponse) !== head.callsFunction)
      throw new WireError(`the server answered ${head.kind} with type ${type}`);
    if (this.#x.muted) return;
    if (type === backend.copyData && endsBinaryCopy(buffer, start, end)) {
      this.#x.client.pass(buffer, start, end);
      execution.copied?.add(buffer, start, end, true);
      return;
    }
    if (!execution.admitRow(end - start)) {
      this.#failLimit(execution);
      return;
    }
    // Where its value comes from is not known. Masks came while its name was asked for.
    if (type === backend.functionCallResponse && execution.masking !== undefined) {
      this.#failUnknown();
      return;
    }
    if (type === backend.copyData) this.#copied(execution, buffer, start, end);
    else if (type !== backend.dataRow) this.#x.client.pass(buffer, start, end);
    else if (execution.masking === undefined) {
      this.#x.client.pass(buffer, start, end);
      execution.recorder?.row(buffer, start, end);
    } else this.#masked(execution, buffer, start, end);
  }

  /** A row that nobody may look at whole, which masks would need: its result ends, and it is read past. */
  oversize(total: number, limit: number): void {
    const { queue, muted, connection } = this.#x;
    if (queue.head?.capture !== undefined) throw tooLong(total, limit);
    if (muted) return;
    this.fail(
      new ProxyError(
        "LimitExceeded",
        `connection ${connection} has masks, and a row of ${total} bytes is more than they can be put on (${limit}); leave its longest columns out, or ask for a part of them`,
      ),
    );
  }

  #copied(execution: Execution, buffer: Buffer, start: number, end: number): void {
    const { cells, copy } = execution.plan ?? {};
    const names = copy?.header === true && execution.quota.rows === 1;
    if (cells === undefined || copy === undefined || names) {
      this.#x.client.pass(buffer, start, end);
      execution.copied?.add(buffer, start, end, true);
      return;
    }
    const first = execution.quota.rows === 1;
    const row =
      copy.notation === "binary"
        ? maskBinaryCopyRow(cells, { buffer, start, end, first })
        : maskCopyRow(cells, copy.notation, buffer, start, end);
    this.#x.client.send(row);
    execution.copied?.add(row, 0, row.length, true);
  }

  #masked(execution: Execution, buffer: Buffer, start: number, end: number): void {
    if (execution.plan === undefined && !this.#planPortal(execution)) return;
    const { plan } = execution;
    if (plan === undefined || plan === null) {
      this.#x.client.pass(buffer, start, end);
      execution.recorder?.row(buffer, start, end);
      return;
    }
    this.#writer.write(plan, buffer, start, end);
    const { last } = this.#writer;
    if (last !== undefined) execution.recorder?.row(last.buffer, last.start, last.end);
  }

  /** Every execution under masks was preceded by a Describe of its portal, the client's or ours. */
  #planPortal(execution: Execution): boolean {
    const fields = execution.portal?.fields;
    const { masking } = execution;
    const plan =
      fields === undefined
        ? "unknown"
        : masking?.plan(fields, this.#detected(execution, masking), this.#of(execution));
    return this.#take(execution, plan);
  }

  /** Part of a large row without masks, already passed on. A limit ends the result behind the whole row: the client has its beginning. */
  piece(type: number, buffer: Buffer, start: number, end: number, last: boolean): void {
    const begins = this.#pieceBytes === 0;
    this.#pieceBytes += end - start;
    if (type === backend.copyData && !this.#x.muted)
      this.#x.queue.head?.execution?.copied?.add(buffer, start, end, begins);
    if (!last) return;
    const whole = this.#pieceBytes;
    this.#pieceBytes = 0;
    const execution = this.#x.queue.head?.execution;
    if (execution === undefined) throw new WireError("the server sent a row that nobody asked for");
    if (this.#x.muted) return;
    if (type === backend.dataRow) execution.recorder?.skip();
    if (!execution.admitRow(whole)) this.#failLimit(execution);
  }

  /** One command is done; a multi-statement text may go on with another result. */
  complete(execution: Execution): void {
    if (this.#x.muted) execution.finish("error", this.#x.now(), "ended early");
    if (execution.portal !== undefined) return;
    execution.plan = undefined;
    execution.statement += 1;
    execution.quota.rows = 0;
    execution.quota.bytes = 0;
  }

  /** Ends the result in hand with an error; the server is cancelled and what it still sends is dropped. */
  fail(error: ProxyError): void {
    const x = this.#x;
    const head = x.queue.head;
    x.client.send(refusalMessage(error));
    x.muted = true;
    head?.execution?.finish("error", x.now(), error.code);
    if (head?.kind !== "query" && !x.queue.hasSync()) this.#frontend.fail();
    x.cancelUpstream(() => this.#frontend.wake());
  }

  #failLimit(execution: Execution): void {
    const { rowsPerResult, bytesPerResult } = execution.limits;
    const which =
      rowsPerResult !== undefined && execution.quota.rows > rowsPerResult
        ? `${rowsPerResult} rows (limits.rowsPerResult)`
        : `${bytesPerResult} bytes (limits.bytesPerResult)`;
    const stands = execution.understood.returnsFromWrite
      ? " The statement also writes; look whether it took effect."
      : "";
    this.fail(
      new ProxyError(
        "LimitExceeded",
        `connection ${this.#x.connection} allows a result of ${which}; ask for less, with WHERE or LIMIT.${stands}`,
      ),
    );
  }

  #failUnknown(): void {
    this.#x.options.masks.stale();
    this.fail(
      new ProxyError(
        "MaskNotProvable",
        `connection ${this.#x.connection} has masks, and this result has a column whose origin was not known in time; send the statement again`,
      ),
    );
  }
}

/** Where nothing detects, nothing is counted. */
const nothingDetected: Detected = new Map();
