// The story of one WebSocket: asked of the upstream once it is allowed, handed over, carried until somebody ends it, recorded.
import { randomBytes } from "node:crypto";
import type { Duplex } from "node:stream";

import type { EventTokens } from "../../../contract/event.ts";
import type { Bundle, DetectMask } from "../../../policy/bundle.ts";
import { createTextMasker } from "../../../policy/mask/detect.ts";
import type { TextMasker } from "../../../policy/mask/detect.ts";
import type { Counts } from "../../../policy/mask/stream.ts";
import type { Operation } from "../../../policy/operation.ts";
import { changedRules } from "../../changed-rules.ts";
import { ProxyError } from "../../errors.ts";
import type { Content, Gate, GateSession, LiveGrant } from "../../pipeline.ts";
import { sentTarget } from "../credential/target.ts";
import type { Exchange, Granted } from "../exchange.ts";
import type { RequestHead } from "../head.ts";
import { agentHeaders, answerRules, upstreamHeaders } from "../headers.ts";
import { detected } from "../mask-answer.ts";
import { findings, noMasks } from "../marks.ts";
import type { SeeFindings } from "../marks.ts";
import { authorityOf } from "../upstreams.ts";
import type { Upstreams } from "../upstreams.ts";
import { closeCodes } from "./frame.ts";
import {
  acceptance,
  checkAccepted,
  requestText,
  withoutHandshake,
  withoutKeys,
} from "./handshake.ts";
import type { WebSocketOffer } from "./handshake.ts";
import { ByteBudget } from "../byte-budget.ts";
import { Messages } from "./messages.ts";
import type { MessageWork } from "./messages.ts";
import { openAt } from "./opening.ts";
import type { Opened } from "./opening.ts";
import { Realtime } from "./realtime.ts";
import type { RealtimeOptions } from "./realtime.ts";
import { WebSocketRelay } from "./relay.ts";

export interface WebSocketOpening {
  readonly exchange: Exchange;
  readonly gate: Gate;
  readonly session: GateSession;
  readonly operation: Operation;
  readonly passage: Granted;
  readonly head: RequestHead;
  /** The headers as they may leave; absent where they go as they are. */
  readonly sentHeaders?: (headers: readonly string[]) => string[];
  readonly offer: WebSocketOffer;
  /** The grant of now. */
  readonly live: LiveGrant;
  readonly upstreams: Upstreams;
}

/** What is said over an open WebSocket, both ways. */
interface Talk {
  /** What goes on, as it stands: asked about again when the rules change. */
  readonly operation: Operation;
  readonly fromAgent: MessageWork;
  readonly fromUpstream: MessageWork;
  readonly detected: Counts;
  readonly tokens: EventTokens | undefined;
  /** The limit that ended it. */
  readonly limit: string | undefined;
  contents(): readonly Content[];
  close(): void;
}

type TalkWays = Pick<RealtimeOptions, "live" | "tell" | "end">;

/** Where no policy says otherwise: as long as an answer may take for its next byte. */
const defaultIdleMs = 600_000;
/** Texts of all WebSockets of a proxy that are held for masking at one time. */
const maxHeldBytes = 32 * 1024 * 1024;
/** Of one proxy, with those that are being opened: each is two connections. */
const maxOpen = 1_024;

export class WebSockets {
  readonly #budget = new ByteBudget(maxHeldBytes);
  readonly #open = new Set<WebSocketRelay>();
  /** Asked of an upstream that has not answered yet. */
  #opening = 0;
  readonly #maskers = new WeakMap<readonly DetectMask[], TextMasker>();

  /** Throws ProxyError as long as the agent can still be told; resolves once it was answered, in whichever way. */
  async open(opening: WebSocketOpening): Promise<void> {
    if (this.#open.size + this.#opening >= maxOpen)
      throw new ProxyError("LimitExceeded", `${maxOpen} WebSockets are open; close some first`);
    this.#opening += 1;
    try {
      await this.#ask(opening);
    } finally {
      this.#opening -= 1;
    }
  }

  async #ask(opening: WebSocketOpening): Promise<void> {
    const { exchange, session, live, head, passage } = opening;
    const offer = opening.operation.kind === "llm" ? withoutKeys(opening.offer) : opening.offer;
    if (live.lease.kind === "awsSigV4")
      throw new ProxyError(
        "NotSupported",
        "WebSockets are not signed for AWS in this version: use a connection with another credential",
      );
    const startedMs = performance.now();
    const signal = AbortSignal.any([exchange.signal, session.ended]);
    const upstream = await opening.upstreams.alone(live.endpoint);
    const key = randomBytes(16).toString("base64");
    const own = withoutHandshake(upstreamHeaders(head, live, "as asked"));
    const headers = opening.sentHeaders?.(own) ?? own;
    const target = sentTarget(head, live.lease);
    const text = requestText(target, authorityOf(live.endpoint), headers, key, offer);
    const opened = await openAt(upstream, text, signal);
    if (opened.kind === "answered") {
      upstream.destroy();
      answer(opening, opened, startedMs);
      return;
    }
    const accepted = accept(upstream, opened, key, offer);
    if (signal.aborted) {
      upstream.destroy();
      throw signal.reason;
    }
    const others = agentHeaders(opened.headers, answerRules(live));
    // From here on it is the WebSocket's: the connection that asked for it is no more.
    exchange.client.release(session);
    const agent = exchange.handOver(101, acceptance(offer, accepted, others));
    agent.pause();
    const carried = this.#carry(opening, agent, upstream, opened.rest);
    void carried.then(({ outcome, contents }) => {
      passage.done({ ...outcome, httpStatus: 101, durationMs: rounded(startedMs) }, contents);
      session.close();
    });
  }

  close(): void {
    for (const relay of this.#open)
      relay.end(new ProxyError("ShuttingDown", "the proxy is shutting down"), closeCodes.goingAway);
  }

  #maskerOf(masks: readonly DetectMask[], bundle: Bundle): TextMasker | undefined {
    if (masks.length === 0) return undefined;
    const known = this.#maskers.get(masks);
    if (known !== undefined) return known;
    const made = createTextMasker(masks, Buffer.from(bundle.maskKey, "base64url"));
    this.#maskers.set(masks, made);
    return made;
  }

  async #carry(opening: WebSocketOpening, agent: Duplex, upstream: Duplex, first: Buffer) {
    const { gate, session } = opening;
    let live = opening.live;
    let relay: WebSocketRelay | undefined;
    const talk = this.#talk(opening, {
      live: () => live,
      tell: (text) => relay?.tell(text),
      end: (cause) => relay?.end(cause, closeCodes.policyViolation),
    });
    const { idleTimeoutSeconds, bytesPerResult } = live.bundle.limits;
    const opened = new WebSocketRelay({
      agent,
      upstream,
      first,
      idleMs: idleTimeoutSeconds === undefined ? defaultIdleMs : idleTimeoutSeconds * 1000,
      maxBytesOut: bytesPerResult ?? Number.POSITIVE_INFINITY,
      fromAgent: talk.fromAgent,
      fromUpstream: talk.fromUpstream,
      check: changedRules(
        gate,
        session,
        () => talk.operation,
        opening.passage,
        opening.live,
        (now) => {
          live = now;
        },
      ),
    });
    relay = opened;
    this.#open.add(opened);
    const onEnd = (): void => endWith(opened, session.ended.reason);
    session.ended.addEventListener("abort", onEnd, { once: true });
    opened.start();
    if (session.ended.aborted) onEnd();
    const { bytesIn, bytesOut, cause } = await opened.ended;
    session.ended.removeEventListener("abort", onEnd);
    this.#open.delete(opened);
    talk.close();
    const { masked } = detected(talk.detected);
    const { tokens } = talk;
    return {
      outcome: {
        status: cause === undefined ? ("ok" as const) : ("error" as const),
        bytesIn,
        bytesOut,
        ...(masked !== undefined && { masked }),
        ...(tokens !== undefined && { tokens }),
        ...(cause !== undefined && { error: cause.code }),
        ...(talk.limit !== undefined && { limit: talk.limit }),
      },
      contents: talk.contents(),
    };
  }

  /** What is said in it: to a model, which is decided on, or to anybody. */
  #talk(opening: WebSocketOpening, ways: TalkWays): Talk {
    const { operation, passage, session } = opening;
    const budget = this.#budget;
    return operation.kind === "llm"
      ? new Realtime({ operation, passage, session, budget, ...ways })
      : this.#plainTalk(opening, ways);
  }

  #plainTalk({ operation, session }: WebSocketOpening, { live }: TalkWays): Talk {
    let see: SeeFindings | undefined;
    let seeSent: SeeFindings | undefined;
    const isKept = (): boolean => live().bundle.recording.detail === "Full";
    const fromAgent = new Messages({
      part: "request",
      masker: () => {
        const masks = session.masksNow(live().bundle.requestMasks ?? noMasks);
        seeSent = findings(masks, session, operation);
        return this.#maskerOf(masks, live().bundle);
      },
      onDetected: (found) => seeSent?.(found),
      isKept,
      budget: this.#budget,
    });
    const fromUpstream = new Messages({
      part: "response",
      masker: () => {
        const masks = session.masksNow(live().bundle.detectMasks);
        see = findings(masks, session, operation);
        return this.#maskerOf(masks, live().bundle);
      },
      onDetected: (found) => see?.(found),
      isKept,
      budget: this.#budget,
    });
    return {
      operation,
      fromAgent,
      fromUpstream,
      tokens: undefined,
      limit: undefined,
      get detected() {
        return detected(fromAgent.detected, fromUpstream.detected).masked?.detected ?? {};
      },
      contents: () =>
        [fromAgent.content(), fromUpstream.content()].filter((one) => one !== undefined),
      close: () => {
        fromAgent.close();
        fromUpstream.close();
      },
    };
  }
}

/** A quarantine, a grant that is over, a policy that changed: all of them are somebody's decision. */
function endWith(relay: WebSocketRelay, reason: unknown): void {
  const cause =
    reason instanceof ProxyError ? reason : new ProxyError("GrantEnded", "the session is over");
  const code = cause.code === "ShuttingDown" ? closeCodes.goingAway : closeCodes.policyViolation;
  relay.end(cause, code);
}

function accept(
  upstream: Duplex,
  { headers }: Extract<Opened, { kind: "switched" }>,
  key: string,
  offer: WebSocketOffer,
): string | undefined {
  try {
    return checkAccepted(headers, key, offer);
  } catch (error) {
    upstream.destroy();
    throw error;
  }
}

/** The upstream did not switch: its answer is an answer. */
function answer(
  { exchange, passage, live }: WebSocketOpening,
  { status, headers, body }: Extract<Opened, { kind: "answered" }>,
  startedMs: number,
): void {
  exchange.respond(status, agentHeaders(headers, answerRules(live)), body);
  passage.done({
    status: status < 400 ? "ok" : "error",
    httpStatus: status,
    bytesOut: body.length,
    durationMs: rounded(startedMs),
  });
}

function rounded(startedMs: number): number {
  return Math.round((performance.now() - startedMs) * 10) / 10;
}
