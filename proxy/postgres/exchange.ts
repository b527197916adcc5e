// What the two directions of one session share: the queue of unanswered requests, names, transaction status, and the way to the other side.
import type { LiteralsOf } from "../../policy/sql/literals.ts";
import type { ProxyError } from "../errors.ts";
import type { Gate, GateSession } from "../pipeline.ts";
import type { Gathering, Share } from "./gathering.ts";
import { OpenCursors } from "./open-cursors.ts";
import type { Outbox } from "./outbox.ts";
import type { TransactionStatus } from "./messages.ts";
import { collectRows } from "./capture.ts";
import { namedQuery, query } from "./messages.ts";
import { Request, RequestQueue } from "./requests.ts";
import type { SessionSettings } from "./session-settings.ts";
import type { Replication } from "./startup-parameters.ts";
import { Registry } from "./statements.ts";
import type { NamedTotal } from "./statements.ts";
import type { Aside } from "./aside.ts";
import type { SearchPath } from "./search-path.ts";
import type { SchemaChanges } from "./schema-changes.ts";
import type { OverloadSource } from "./overloads.ts";
import type { MaskSource, Rows } from "./mask-source.ts";
import type { Understood } from "./understanding.ts";

export interface ExchangeOptions {
  readonly gate: Gate;
  readonly session: GateSession;
  readonly study: (text: string) => Understood;
  readonly literalsOf: LiteralsOf;
  readonly masks: MaskSource;
  readonly overloads: OverloadSource;
  readonly settings: SessionSettings;
  readonly changes: SchemaChanges;
  readonly path: SearchPath;
  readonly client: Outbox;
  readonly upstream: Outbox;
  /** Of the memory for messages that all sessions have together. */
  readonly gathering: Gathering;
  readonly named: NamedTotal;
  readonly now: () => number;
  /** How often a client is told that it waits for a person. */
  readonly holdNoticeMs: number;
  /** Sends a CancelRequest for what runs upstream; resolves once the server has taken it. */
  readonly cancel: () => Promise<void>;
  /** A connection of our own to the same server, for look-ups that the session's own transaction cannot make. */
  readonly openAside: () => Promise<Aside>;
  /** Set where the connection is one for replication: it takes simple queries only, and a physical one no SQL. */
  readonly replication: Replication | undefined;
  /** A name no client can guess: executing it fails for sure. */
  readonly poisonPortal: string;
}

/** Begins every query of our own, for whoever reads the server's log or pg_stat_activity. */
export const ownMark = "/* chaperone */ ";

export class Exchange {
  readonly options: ExchangeOptions;
  readonly queue = new RequestQueue();
  readonly registry: Registry;
  /** Ends the session, or lets it go on, as memory allows; set by whoever has the sockets. */
  onMemory: { resume: () => void; fail: (error: ProxyError) => void } | undefined = undefined;
  readonly share: Share;
  readonly client: Outbox;
  readonly upstream: Outbox;
  readonly now: () => number;
  readonly settings: SessionSettings;
  readonly changes: SchemaChanges;
  readonly path: SearchPath;
  readonly openCursors = new OpenCursors();
  /** As the last ReadyForQuery said. */
  status: TransactionStatus = "I";
  /**
   * The transaction that a Query reported is one of the batch before it, which has no BEGIN and had no Sync: the next Sync commits it, and a question of
   * ours ends with one.
   */
  implicit = false;
  /** What was forwarded of the batch ended the transaction that it began in. */
  batchEnds = false;
  /** The server waits for the client's COPY data; the request that started it. */
  copyIn: Request | undefined = undefined;
  /** A result was ended early: what the server still sends of this batch is dropped until ReadyForQuery. */
  muted = false;
  /** What runs is being cancelled because it ran too long: what the client is told of it. */
  stopped: Buffer | undefined = undefined;
  /** The client has the beginning of a message and not its end. */
  inPiece = false;
  /** The session has ended: nothing is forwarded any more. */
  over = false;
  /** A CancelRequest is on its way: nothing new is forwarded that it could hit. */
  cancelling: Promise<void> | undefined = undefined;
  #onDrained: (() => void)[] = [];
  #ownQueries = 0;
  /** `connection` as errors name it. */
  readonly connection: string;

  constructor(options: ExchangeOptions) {
    this.options = options;
    this.client = options.client;
    this.upstream = options.upstream;
    this.now = options.now;
    this.settings = options.settings;
    this.changes = options.changes;
    this.path = options.path;
    const { namespace, name } = options.gate.connection;
    this.connection = `${namespace}/${name}`;
    this.registry = new Registry(options.named);
    this.share = options.gathering.open({
      connection: this.connection,
      resume: () => this.onMemory?.resume(),
      fail: (error) => this.onMemory?.fail(error),
    });
  }

  /** Of the rules in force now. */
  get generation(): string | undefined {
    return this.options.gate.current()?.bundle.generation;
  }

  /** Nothing is outstanding and no transaction is open: the session can end here without losing anything. */
  get idle(): boolean {
    return this.queue.size === 0 && this.status === "I" && this.cancelling === undefined;
  }

  /** What is forwarded of a batch is a transaction until its Sync, which a query of ours would commit. */
  halfSent(begun: boolean): boolean {
    return this.implicit || (begun && (this.status === "I" || this.batchEnds));
  }

  /** Whether a query of ours would be answered, and leave the client's transaction as it is; known when nothing is outstanding. */
  mayAsk(begun: boolean): boolean {
    return this.status !== "E" && !this.halfSent(begun);
  }

  /** The session is over: what it had of shared memory is given back. */
  close(): void {
    this.share.close();
    this.registry.close();
  }

  /** A request was never forwarded, or the server skipped it. */
  drop(request: Request, status: "denied" | "error", why: string): void {
    this.registry.dropped(request);
    if (request.kind === "execute" || request.kind === "query")
      request.execution?.finish(status, this.now(), why);
  }

  /** Resolves when everything forwarded is answered; the caller must keep the client from sending more. */
  drained(): Promise<void> {
    if (this.queue.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#onDrained.push(resolve));
  }

  /** The server has answered something. */
  progress(): void {
    if (this.queue.size > 0 || this.#onDrained.length === 0) return;
    for (const resolve of this.#onDrained.splice(0)) resolve();
  }

  /** A query of our own on the client's upstream connection, of one statement; only while nothing is outstanding. */
  ownQuery(text: string): Promise<Rows> {
    // A name for each: one that failed half-way is still taken. A walsender knows simple queries alone, and before PostgreSQL 15 no comments.
    this.#ownQueries += 1;
    const bytes =
      this.options.replication === undefined
        ? namedQuery(`${this.options.poisonPortal}:${this.#ownQueries}`, `${ownMark}${text}`)
        : query(text);
    const request = new Request("query", bytes, 0, bytes.length);
    request.own = true;
    const collected = collectRows();
    request.capture = collected.capture;
    this.queue.push(request);
    this.upstream.send(bytes);
    this.upstream.flush();
    request.release();
    return collected.rows;
  }

  /** Cancels what runs upstream; `done` is called when new requests may be forwarded again. */
  cancelUpstream(done: () => void): void {
    if (this.cancelling !== undefined) return;
    this.cancelling = this.options.cancel().finally(() => {
      this.cancelling = undefined;
      done();
    });
    this.cancelling.catch(() => undefined);
  }
}
