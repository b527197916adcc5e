// The agent's side of an exchange, whatever version of HTTP it came in: one request, the way to answer it, and the connection under both.
// What is above (exchange.ts, forward.ts, client.ts) knows nothing else of the wire.
import type { Duplex } from "node:stream";

import type { ProxyError } from "../errors.ts";

/** Names in lower case and values, flat, in the order they came. */
export type FlatHeaders = readonly string[];

/** One request of the agent. The leg it came by (HTTP/1.1, HTTP/2) makes it; its head is whole. */
export interface InboundRequest {
  readonly method: string;
  /** The request target or `:path`, as sent: a path, an absolute URL, or an authority for CONNECT. */
  readonly target: string;
  /** `:scheme`, as sent; HTTP/1.1 has none. */
  readonly scheme: string | undefined;
  /** `:authority`, as sent; HTTP/1.1 says it in its Host header, which is among the headers. */
  readonly authority: string | undefined;
  /** Without pseudo-headers; framing headers are as they came, and the leg has read the same in them as `body` says. */
  readonly headers: FlatHeaders;
  readonly body: InboundBody;
  readonly answer: InboundAnswer;
  /**
   * Its head was refused for what it says, so that what follows it on the connection could be part of it to somebody else:
   * nothing more is read there. Versions that frame requests apart have no need of it.
   */
  distrust?(): void;
  /**
   * Answers with this head (101 for an upgrade, 200 for CONNECT) and gives the bytes behind it up: what the client sent
   * already comes first. A plain HTTP/1.1 connection is given up as its socket. Instead of an answer; the leg is out of it then.
   */
  handOver(status: number, headers: FlatHeaders): Duplex;
}

/** Of a request. Nothing is handed out before `read`; what nobody reads by the end of the answer is the leg's to take off the wire. */
export interface InboundBody {
  /** Bytes it has; 0 where there is none, undefined where only its end will tell. */
  readonly length: number | undefined;
  /** All of it was handed out, or there was none. */
  readonly isComplete: boolean;
  /** What came behind it, as sent; none before it is complete. */
  readonly trailers: FlatHeaders;
  /**
   * Hands it to this reader from here on, beginning within the call with what is here already; the reader before it hears
   * nothing more. The first call tells a client that waits for `100 Continue` that its body is wanted.
   */
  read(reader: BodyReader): void;
  /** Nothing is handed out until `resume`, and a bounded part is read off the wire. */
  pause(): void;
  resume(): void;
}

export interface BodyReader {
  /**
   * @param chunk valid only while this is called
   * @param isOwn it is the reader's to keep
   */
  data(chunk: Buffer, isOwn?: boolean): void;
  end(trailers: FlatHeaders): void;
  /** The rest will never come. */
  failed(error: Error): void;
}

/** What is said after its end, or when the client is gone, is dropped. */
export interface InboundAnswer {
  /** The head of the real answer was given: a refusal cannot take its place any more. */
  readonly hasBegun: boolean;
  /** An informational answer, not 101; dropped for a client that does not know them, and once the answer has begun. */
  inform(status: number, headers: FlatHeaders): void;
  /**
   * The head of the answer. How the message is framed and what belongs to one hop is the leg's; `content-length` among the
   * headers is believed. With it the head may wait for the first piece of the body, without it the head goes out at once.
   */
  begin(status: number, headers: FlatHeaders): void;
  /**
   * False: say no more before `drained`. Dropped where method or status has no body.
   *
   * @param chunk valid only while this is called
   */
  write(chunk: Buffer): boolean;
  /** @param last the last piece, valid only while this is called */
  end(last?: Buffer, trailers?: FlatHeaders): void;
  /** Breaks it off, so that it cannot be taken for one that ended. HTTP/1.1 has only the whole connection to end for that. */
  abort(): void;
}

/** Hears of one request, from the moment it was handed up until its answer has ended. */
export interface InboundEvents {
  /** After a `write` that said false. */
  drained(): void;
  /** The client closed its connection or took the request back. */
  gone(): void;
  /** What is left of the body cannot be read; the reader hears of it too. The answer can still be given. */
  broken(error: ProxyError): void;
}

/** Where a leg brings what arrives. */
export interface InboundSink {
  /** One request at a time in HTTP/1.1, several in HTTP/2. */
  request(request: InboundRequest): InboundEvents;
  /** Bytes that never became a request; the leg answers them itself. */
  malformed(error: ProxyError): void;
  /** The connection is closed; every request on it has heard so before. */
  closed(): void;
}

/** The connection of an agent, as it is ended from above. */
export interface InboundLeg {
  /** No request after those under way: the client hears that it is so, and the connection closes once they are answered. */
  close(): void;
  /** Ends it now. */
  destroy(): void;
}
