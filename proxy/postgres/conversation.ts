// Two sockets and the exchange between them: bytes both ways, backpressure both ways, half-close, and the ends a session can have.
import type { Socket } from "node:net";
import { ProxyError } from "../errors.ts";
import { endDeadlineMs } from "../pipeline.ts";
import { Backend } from "./backend.ts";
import type { Chunks } from "./chunks.ts";
import type { Exchange } from "./exchange.ts";
import { WireError } from "./framer.ts";
import { Frontend } from "./frontend.ts";
import { outstandingBytes } from "./gathering.ts";
import { terminate } from "./messages.ts";
import { asProxyError, fatalMessage } from "./refusal.ts";
import { askStreamAgain, streamOutlivedRules } from "./replication.ts";
import { SessionClock } from "./session-clock.ts";
import { chainOf } from "./startup-parameters.ts";
import { becomesForeignDialect } from "./upstream.ts";

/** Client bytes kept while an operation is held or a COPY begins; enough to see that the client left. */
const maxWaitingBytes = 64 * 1024;
/** After the last message a peer has this long to close its side. */
const closeGraceMs = 2_000;

export interface Ends {
  readonly client: Socket;
  readonly upstream: Socket;
  /** Where their bytes are kept from read to write. */
  readonly chunks: { readonly client: Chunks; readonly upstream: Chunks };
  /** Aborts with a ProxyError when the session must end. */
  readonly ended: AbortSignal;
  readonly setChain: (chain: string) => void;
}

export class Conversation {
  readonly #x: Exchange;
  readonly #ends: Ends;
  readonly #frontend: Frontend;
  readonly #backend: Backend;
  #ending: ProxyError | undefined;
  #deadline: NodeJS.Timeout | undefined;
  readonly #clock: SessionClock;
  #clientEnded = false;
  /** A stream of changes waits for new rules. */
  #asking = false;
  #resolveClosed: (cause: ProxyError | undefined) => void = () => undefined;
  /** Resolves when both sockets are done with, with what ended it unless the client did. */
  readonly closed: Promise<ProxyError | undefined>;

  constructor(exchange: Exchange, ends: Ends) {
    this.#x = exchange;
    this.#ends = ends;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#frontend = new Frontend(exchange, {
      moved: () => this.#moved(),
      failed: (error) => this.#failed(error),
    });
    exchange.onMemory = {
      resume: () => {
        try {
          this.#backend.resume();
        } catch (error) {
          this.#failed(this.#ofServer(error));
        }
        this.#frontend.resume();
        this.#balance();
      },
      fail: (error) => this.#failed(error),
    };
    this.#backend = new Backend(exchange, this.#frontend, {
      parameter: (name, value) => this.#parameter(name, value),
      settled: () => this.#settled(),
    });
    this.#clock = new SessionClock(exchange, {
      limits: () => exchange.options.gate.current()?.bundle.limits,
      quiet: () => this.#frontend.quiet,
      cancel: () => exchange.cancelUpstream(() => this.#frontend.wake()),
      finish: (error) => this.#finish(error),
    });
  }

  /** @param clientRest bytes the client sent ahead during the handshake */
  start(clientRest: Buffer, upstreamRest: Buffer): void {
    const { client, upstream, ended } = this.#ends;
    client.on("data", this.fromClient);
    client.on("drain", this.#balance);
    client.on("end", () => this.#clientHalfClosed());
    client.on("error", () => client.destroy());
    client.on("close", () => this.#clientGone());
    upstream.on("data", this.fromUpstream);
    upstream.on("drain", this.#balance);
    upstream.on("error", () => upstream.destroy());
    upstream.on("end", () => this.#upstreamGone());
    upstream.on("close", () => this.#upstreamGone());
    this.#clock.start();
    if (ended.aborted) this.#onEnded();
    else ended.addEventListener("abort", this.#onEnded, { once: true });
    if (upstreamRest.length > 0) this.fromUpstream(upstreamRest);
    if (clientRest.length > 0) this.fromClient(clientRest);
    client.resume();
    upstream.resume();
  }

  /** Cancels what the client waits for: a hold here, or the statement that runs upstream. */
  async cancel(): Promise<void> {
    // What waits here may wait for what runs there, so it is no reason to leave that alone.
    this.#frontend.abandonHold(true);
    if (this.#x.queue.size === 0) return;
    this.#x.cancelUpstream(() => this.#frontend.wake());
    await this.#x.cancelling;
  }

  /** @param chunk nobody changes before it is forgotten */
  readonly fromClient = (chunk: Buffer): void => {
    if (this.#x.over) return;
    this.#clock.heard();
    try {
      this.#frontend.push(chunk);
    } catch (error) {
      this.#failed(error);
    }
    this.#balance();
  };

  /** @param chunk nobody changes before it is forgotten */
  readonly fromUpstream = (chunk: Buffer): void => {
    if (this.#x.over) return;
    if (streamOutlivedRules(this.#x)) {
      this.#askStreamAgain(chunk);
      return;
    }
    try {
      this.#backend.push(chunk);
    } catch (error) {
      this.#failed(this.#ofServer(error));
    }
    this.#balance();
  };

  /** What the server sent waits until the rules in force now have allowed it. */
  #askStreamAgain(chunk: Buffer): void {
    this.#asking = true;
    this.#ends.upstream.pause();
    askStreamAgain(this.#x).then(
      () => {
        this.#asking = false;
        this.fromUpstream(chunk);
      },
      (error: unknown) => this.#failed(error),
    );
  }

  /** Who writes more than the other side reads is not read from until it has. */
  readonly #balance = (): void => {
    this.#account();
    this.#forget();
    const { client, upstream } = this.#ends;
    const holdClient =
      this.#x.upstream.full ||
      this.#frontend.starved ||
      this.#frontend.framer.waitingBytes > maxWaitingBytes;
    if (holdClient !== client.isPaused()) {
      if (holdClient) client.pause();
      else client.resume();
    }
    const holdUpstream = this.#x.client.full || this.#backend.blocked || this.#asking;
    if (holdUpstream !== upstream.isPaused()) {
      if (holdUpstream) upstream.pause();
      else upstream.resume();
    }
  };

  /** States what this session holds of the memory that all have together. */
  #account(): void {
    if (this.#x.over) return;
    const { client, upstream } = this.#ends;
    const { share, queue } = this.#x;
    const { framer } = this.#backend;
    const gathering = this.#frontend.framer.gatheringBytes + framer.gatheringBytes;
    if (gathering === 0 && !this.#frontend.starved && !this.#backend.blocked)
      share.betweenMessages();
    share.hold(
      this.#frontend.heldBytes +
        framer.gatheringBytes +
        framer.waitingBytes +
        client.writableLength +
        upstream.writableLength +
        queue.size * outstandingBytes,
    );
  }

  /** Between statements nothing of either side is held: both read into the same room again, and the collector has nothing to take back. */
  #forget(): void {
    const { client, upstream } = this.#ends.chunks;
    if (this.#frontend.done && this.#x.upstream.empty) client.forget();
    if (this.#backend.framer.atRest && !this.#asking && this.#x.client.empty) upstream.forget();
  }

  #moved(): void {
    const done = this.#frontend.framer.waitingBytes === 0 && !this.#frontend.blocked;
    if (this.#frontend.terminated || (this.#clientEnded && done)) {
      this.#x.upstream.flush();
      this.#ends.upstream.end();
    }
    this.#balance();
    if (this.#ending !== undefined) this.#endIfIdle();
  }

  #clientHalfClosed(): void {
    this.#clientEnded = true;
    this.#frontend.abandonHold(false);
    this.#moved();
  }

  #settled(): void {
    if (this.#ending !== undefined) this.#endIfIdle();
  }

  readonly #onEnded = (): void => {
    const error = asProxyError(this.#ends.ended.reason, this.#x.connection);
    this.#ending = error;
    if (error.code === "Quarantined") {
      this.#finish(error);
      return;
    }
    this.#deadline = setTimeout(() => this.#finish(error), endDeadlineMs);
    this.#endIfIdle();
  };

  #endIfIdle(): void {
    const error = this.#ending;
    if (error !== undefined && this.#x.idle && this.#frontend.quiet) this.#finish(error);
  }

  #parameter(name: string, value: string): void {
    if (becomesForeignDialect(name, value))
      throw new ProxyError(
        "UpstreamProtocol",
        `connection ${this.#x.connection}: ${name} was changed, so SQL would be misread; the session ends`,
      );
    if (this.#x.settings.undone(name, value))
      throw new ProxyError(
        "UpstreamProtocol",
        `connection ${this.#x.connection}: a function switched ${name} off while the policy allows only reads; the session ends`,
      );
    if (name !== "application_name") return;
    const chain = chainOf(value);
    if (chain !== undefined) this.#ends.setChain(chain);
  }

  /** Bytes that are not the protocol are the server's fault here, not the client's. */
  #ofServer(error: unknown): unknown {
    if (!(error instanceof WireError)) return error;
    return new ProxyError(
      "UpstreamProtocol",
      `connection ${this.#x.connection}: ${error.message}`,
      {
        cause: error,
      },
    );
  }

  #failed(error: unknown): void {
    this.#finish(asProxyError(error, this.#x.connection));
  }

  /** The last word to the client, then both sides are closed; a statement that still runs is cancelled. */
  #finish(error: ProxyError | undefined): void {
    if (this.#x.over) return;
    this.#x.over = true;
    const { client, upstream, ended } = this.#ends;
    clearTimeout(this.#deadline);
    this.#clock.stop();
    ended.removeEventListener("abort", this.#onEnded);
    this.#frontend.abandonHold(false);
    const running = this.#x.queue.size > 0;
    for (let head = this.#x.queue.shift(); head !== undefined; head = this.#x.queue.shift()) {
      head.execution?.finish("unknown", this.#x.now(), error?.code);
      head.portal?.abandon();
      head.capture?.done("the session is over");
    }
    this.#x.registry.transactionEnded();
    this.#x.close();
    this.#x.progress();
    // Inside a message that passes in pieces, nothing can be said any more.
    if (error !== undefined && !this.#x.inPiece) this.#x.client.send(fatalMessage(error));
    this.#x.client.flush();
    client.end();
    if (running) this.#x.cancelUpstream(() => undefined);
    else if (upstream.writable) upstream.write(terminate());
    upstream.end();
    const grace = setTimeout(() => {
      client.destroy();
      upstream.destroy();
    }, closeGraceMs);
    const settle = (): void => {
      if (!client.closed || !upstream.closed) return;
      clearTimeout(grace);
      this.#resolveClosed(error);
    };
    client.resume();
    upstream.resume();
    client.once("close", settle);
    upstream.once("close", settle);
    settle();
  }

  #clientGone(): void {
    this.#finish(undefined);
    this.#ends.upstream.destroySoon();
  }

  #upstreamGone(): void {
    const expected =
      this.#backend.saidFatal || this.#frontend.terminated || (this.#clientEnded && !this.#x.over);
    this.#finish(
      expected
        ? undefined
        : new ProxyError(
            "UpstreamUnreachable",
            `connection ${this.#x.connection}: the server closed the connection`,
          ),
    );
  }
}
