// Asks an upstream for a WebSocket: sends the handshake on a connection of its own and reads the answer, whichever it is.
import type { Duplex } from "node:stream";

import { ProxyError } from "../../errors.ts";
import { AnswerParser } from "../upstream-parser.ts";
import type { AnswerHeaders } from "../upstream-parser.ts";

export type Opened =
  /** `rest`: what the upstream sent behind its head. */
  | { readonly kind: "switched"; readonly headers: AnswerHeaders; readonly rest: Buffer }
  | {
      readonly kind: "answered";
      readonly status: number;
      readonly headers: AnswerHeaders;
      readonly body: Buffer;
    };

/** To the end of the head of its answer; an upstream that wants to think first has not understood. */
const answerTimeoutMs = 30_000;
/** An answer instead of an upgrade is a refusal or a redirect: a page at most. */
const maxAnswerBytes = 1024 * 1024;

/** Throws ProxyError, or the signal's reason. Afterwards the socket is paused, or of no use any more. */
export function openAt(socket: Duplex, request: string, signal: AbortSignal): Promise<Opened> {
  const { promise, resolve, reject } = Promise.withResolvers<Opened>();
  const reading = new Reading();
  const settle = (): void => {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    socket.off("data", onData).off("end", onEnd).off("close", onEnd).off("error", onError);
    socket.pause();
  };
  const fail = (error: unknown): void => {
    settle();
    socket.destroy();
    reject(error instanceof Error ? error : new Error(String(error)));
  };
  const take = (read: () => Opened | undefined): void => {
    try {
      const opened = read();
      if (opened === undefined) return;
      settle();
      resolve(opened);
    } catch (error) {
      fail(error);
    }
  };
  const onData = (chunk: Buffer): void => take(() => reading.push(chunk));
  const onEnd = (): void =>
    take(() => {
      const opened = reading.finish();
      if (opened === undefined) throw brokenOff();
      return opened;
    });
  const onError = (): void => fail(brokenOff());
  const onAbort = (): void => fail(signal.reason);
  const timer = setTimeout(
    () =>
      fail(
        new ProxyError(
          "UpstreamUnreachable",
          `the upstream did not answer the WebSocket handshake within ${answerTimeoutMs / 1000} s`,
        ),
      ),
    answerTimeoutMs,
  );
  if (signal.aborted) onAbort();
  else {
    signal.addEventListener("abort", onAbort, { once: true });
    socket.on("data", onData).once("end", onEnd).once("close", onEnd).once("error", onError);
    socket.resume();
    socket.write(request, "latin1");
  }
  return promise;
}

class Reading {
  #head: Buffer = Buffer.alloc(0);
  #parser: AnswerParser | undefined;
  #status = 0;
  #headers: AnswerHeaders = {};
  readonly #body: Buffer[] = [];
  #bytes = 0;
  #isWhole = false;

  push(chunk: Buffer): Opened | undefined {
    if (this.#parser !== undefined) return this.#answer(this.#parser, chunk);
    this.#head = Buffer.concat([this.#head, chunk]);
    const end = this.#head.indexOf("\r\n\r\n", 0, "latin1");
    if (end < 0) {
      // What can never become an answer, or a head as long as no answer's, is not waited for.
      this.#newParser().push(this.#head);
      return undefined;
    }
    const head = this.#head.subarray(0, end + 4);
    if (/^HTTP\/1\.1 101[ \r]/.test(head.toString("latin1", 0, 13)))
      return {
        kind: "switched",
        headers: switchedHeaders(head),
        rest: Buffer.from(this.#head.subarray(end + 4)),
      };
    this.#parser = this.#newParser();
    return this.#answer(this.#parser, this.#head);
  }

  finish(): Opened | undefined {
    return this.#parser?.finish() === true ? this.#whole() : undefined;
  }

  #answer(parser: AnswerParser, chunk: Buffer): Opened | undefined {
    parser.push(chunk);
    return this.#isWhole ? this.#whole() : undefined;
  }

  #whole(): Opened {
    return {
      kind: "answered",
      status: this.#status,
      headers: this.#headers,
      body: Buffer.concat(this.#body),
    };
  }

  #newParser(): AnswerParser {
    const parser = new AnswerParser({
      head: (status, headers, isFinal) => {
        // A 101 behind a 100 is one all the same, and is refused by the parser: nobody sends it.
        if (!isFinal) return;
        this.#status = status;
        this.#headers = headers;
      },
      data: (chunk) => {
        this.#bytes += chunk.length;
        if (this.#bytes > maxAnswerBytes)
          throw new ProxyError(
            "UpstreamProtocol",
            `the upstream answered the WebSocket handshake with more than ${maxAnswerBytes} bytes`,
          );
        this.#body.push(Buffer.from(chunk));
      },
      end: () => {
        this.#isWhole = true;
      },
    });
    parser.expect("GET");
    return parser;
  }
}

/** The strict reading of any answer's headers: the parser refuses the status alone, so it is shown another. */
function switchedHeaders(head: Buffer): AnswerHeaders {
  let found: AnswerHeaders = {};
  const parser = new AnswerParser({
    head: (_status, headers) => {
      found = headers;
    },
    data: () => undefined,
    end: () => undefined,
  });
  parser.expect("HEAD");
  parser.push(Buffer.concat([Buffer.from("HTTP/1.1 200"), head.subarray("HTTP/1.1 101".length)]));
  return found;
}

function brokenOff(): ProxyError {
  return new ProxyError(
    "UpstreamProtocol",
    "the upstream ended the connection within the WebSocket handshake",
  );
}
