// The PostgreSQL room: takes client connections and the gate of their Connection, and keeps what the sessions of a pod share.
import type { Socket } from "node:net";
import type { SecureContext } from "node:tls";
import { ProxyError } from "../errors.ts";
import type { LiteralsOf } from "../../policy/sql/literals.ts";
import type { ConnectionId } from "../../policy/operation.ts";
import { SharedReads } from "../net/shared-reads.ts";
import type { Gate } from "../pipeline.ts";
import { CancelKeys } from "./cancel.ts";
import { Gathering } from "./gathering.ts";
import { holdNoticeMs } from "./hold-notices.ts";
import { CatalogCache } from "./mask-source.ts";
import type { MaskEngine } from "./mask-source.ts";
import { OverloadCache, type CallsOf } from "./overloads.ts";
import { serve } from "./session.ts";
import { NamedTotal } from "./statements.ts";
import { createStudy } from "./understanding.ts";
import type { Recognise, Understood } from "./understanding.ts";
import type { DialUpstream } from "./upstream-socket.ts";

/** Everything before the first query together: a client that sends nothing, an operator or a server that does not answer. */
const startupDeadlineMs = 30_000;

export interface PostgresMetrics {
  sessionOpened(): void;
  sessionClosed(): void;
}

export interface PostgresRoomOptions {
  /** The certificate for the client's side, read afresh per connection; undefined: TLS is declined. */
  readonly tlsContext: () => SecureContext | undefined;
  /** TCP to the upstream, by our own name resolution. */
  readonly dial: DialUpstream;
  readonly recognise: Recognise;
  readonly masks: MaskEngine;
  readonly callsOf: CallsOf;
  readonly literalsOf: LiteralsOf;
  readonly metrics?: PostgresMetrics;
  /** Refused before there was a session that could record it. */
  readonly onRefused?: (error: ProxyError, connection: ConnectionId) => void;
  /** How long everything before the first query may take together; tests shorten it. */
  readonly startupDeadlineMs?: number;
  /** How long a message waits for memory that other sessions hold; tests shorten it. */
  readonly memoryPatienceMs?: number;
  /** How often a client is told that it waits for a person; tests shorten it. */
  readonly holdNoticeMs?: number;
  /** Milliseconds, for durations and ages of caches. */
  readonly now?: () => number;
}

export interface PostgresRoom {
  /**
   * One client connection, from its first byte.
   *
   * @param tlsContext what this listener presents, instead of the room's own
   */
  accept(socket: Socket, gate: Gate, tlsContext?: () => SecureContext | undefined): void;
  /** Ends connections that are being set up; sessions end through their gate. Resolves when all are closed. */
  close(): Promise<void>;
}

/** What sessions share. */
export interface Room {
  readonly tlsContext: () => SecureContext | undefined;
  readonly dial: DialUpstream;
  readonly study: (text: string) => Understood;
  readonly masks: MaskEngine;
  readonly catalogs: CatalogCache;
  readonly callsOf: CallsOf;
  readonly literalsOf: LiteralsOf;
  readonly overloads: OverloadCache;
  readonly cancelKeys: CancelKeys;
  readonly gathering: Gathering;
  readonly reads: SharedReads;
  readonly named: NamedTotal;
  readonly startupDeadlineMs: number;
  readonly holdNoticeMs: number;
  readonly now: () => number;
  readonly onRefused: (error: ProxyError, connection: ConnectionId) => void;
  readonly closing: AbortSignal;
}

export function createPostgresRoom(options: PostgresRoomOptions): PostgresRoom {
  const closing = new AbortController();
  const open = new Set<Promise<void>>();
  const now = options.now ?? (() => performance.now());
  const room: Room = {
    tlsContext: options.tlsContext,
    dial: options.dial,
    study: createStudy(options.recognise),
    masks: options.masks,
    catalogs: new CatalogCache(now),
    callsOf: options.callsOf,
    literalsOf: options.literalsOf,
    overloads: new OverloadCache(now),
    cancelKeys: new CancelKeys(),
    gathering: new Gathering(now, options.memoryPatienceMs),
    reads: new SharedReads(),
    startupDeadlineMs: options.startupDeadlineMs ?? startupDeadlineMs,
    holdNoticeMs: options.holdNoticeMs ?? holdNoticeMs,
    named: new NamedTotal(),
    now,
    onRefused: options.onRefused ?? (() => undefined),
    closing: closing.signal,
  };
  return {
    accept(socket, gate, tlsContext) {
      options.metrics?.sessionOpened();
      const served = serve(
        socket,
        gate,
        tlsContext === undefined ? room : { ...room, tlsContext },
      ).finally(() => {
        open.delete(served);
        options.metrics?.sessionClosed();
      });
      open.add(served);
    },
    async close() {
      closing.abort(new ProxyError("ShuttingDown", "the proxy is shutting down"));
      await Promise.allSettled(open);
    },
  };
}
