// The one pipeline every protocol goes through: recognise -> decide -> (hold) -> forward -> mask -> record.
// This file holds its types, so that a protocol folder needs nothing else of the proxy; `gate.ts` implements them.
import type {
  Endpoint,
  Lease,
  OpenRequest,
  RequestState,
  SeenTools,
  ToolPin,
} from "../contract/control.ts";
import type { ContentRef, EventBody, EventOutcome, EventType } from "../contract/event.ts";
import type { Bundle, DetectMask } from "../policy/bundle.ts";
import type { PreparedBundle } from "../policy/decide.ts";
import type { Decision } from "../policy/decision.ts";
import type { FoundMark } from "../policy/marks.ts";
import type { KeptThinking } from "../policy/llm/anthropic/kept-thinking.ts";
import type { TokenVault } from "../policy/mask/token-vault.ts";
import type { ConnectionId, Operation } from "../policy/operation.ts";
import type { Spending } from "./budget/spending.ts";
import type { ProxyError } from "./errors.ts";

/** The live grant of one connection. Read it afresh at each use: bundle, lease and endpoint change under a running session. */
export interface LiveGrant {
  readonly id: string;
  readonly endpoint: Endpoint;
  readonly lease: Lease;
  readonly bundle: Bundle;
  readonly prepared: PreparedBundle;
}

/** One connection of this pod, as its protocol sees it. */
export interface Gate {
  readonly connection: ConnectionId;
  /** Resolves once a live grant is held; throws ProxyError (GrantRefused, Quarantined, ControlPlaneUnavailable, ProxyTooOld). */
  grant(signal: AbortSignal): Promise<LiveGrant>;
  /** The grant in force now, or undefined. Never blocks. */
  current(): LiveGrant | undefined;
  /** Opens a session (records `session-start`). Throws ProxyError LimitExceeded over `maxConnections`. */
  /** Tells the operator of tools that were seen, or that changed and may; resolves to the pins that stand. Throws ProxyError. */
  pinTools(tools: Omit<SeenTools, "connection">, signal: AbortSignal): Promise<readonly ToolPin[]>;
  open(options: { readonly chain?: string; readonly label?: string }): GateSession;
}

/** One subject on one connection, from first to last operation. */
export interface GateSession {
  readonly id: string;
  /** Aborts with a ProxyError (GrantEnded, Quarantined, ShuttingDown) when the session must end: at the next idle point, at the latest after `endDeadlineMs`. */
  readonly ended: AbortSignal;
  /** A later claim of the chain (header, application_name); undefined: the pod's own again. */
  setChain(chain: string | undefined): void;
  /**
   * Decides one operation and takes it as far as the moment before forwarding: held operations wait here, strict ones
   * have a durable intent when this returns. Synchronous for what is allowed and not strict.
   */
  pass(operation: Operation, options: PassOptions): Passage | Promise<Passage>;
  /**
   * What the rules in force now say against an operation that is going on, or waited for a person; undefined for nothing.
   *
   * @param decision what let it go on: one that simply passed has no person's word for it
   */
  refusalNow(operation: Operation, decision?: Decision): ProxyError | undefined;
  /**
   * The pod's session carries these from here on; to be called before what put them goes out to the agent. Throws ProxyError where one cannot be
   * kept: then it must not go out.
   */
  mark(found: readonly FoundMark[], operation: Operation): void;
  /** Those of these that apply now; the same object while the same ones do. */
  masksNow(masks: readonly DetectMask[]): readonly DetectMask[];
  /** Reversible tokens that were sent on this connection, and what they stand for. */
  readonly vault: TokenVault;
  /** Thinking that was masked on this connection, as its model signed it. */
  readonly thinking: KeptThinking;
  /** Another list as soon as the pod's session carries another mark. */
  readonly marks: readonly string[];
  /** Calls at each new mark of the pod's session, until the returned function is called. */
  onMark(listener: () => void): () => void;
  /** What the rules in force now say of an operation, without recording it; undefined where no grant is held. */
  decideNow(operation: Operation): Decision | undefined;
  /** The chain that is claimed now. */
  readonly chain: string | undefined;
  /** @param cause what ended it, where its client did not */
  close(cause?: ProxyError): void;
}

export interface PassOptions {
  /** Digest input of an exact operation: approvals bind to it. */
  readonly exact: () => string;
  /** Statement, prompt or parameters, recorded per `recording.detail` and shown to approvers. */
  readonly content?:
    | (() => { readonly part: ContentRef["part"]; readonly text: string })
    | undefined;
  /** A person is being asked by this access request; until `pass` settles the client can only wait. */
  readonly onWait?: (request: string) => void;
  /** Tokens of a request to a language model, as well as can be said before it is sent. */
  readonly inputTokens?: (() => number) | undefined;
  /** Aborts a hold when the client goes away. */
  readonly signal: AbortSignal;
}

export type Passage =
  | {
      readonly go: true;
      readonly decision: Decision;
      /** What it holds of budgets that are counted in tokens; `done` settles it. */
      readonly spending?: Spending | undefined;
      /** Of the session when it was decided, with those it put there itself: others ask for another decision. */
      readonly marks: readonly string[];
      readonly done: (outcome: EventOutcome, contents?: readonly Content[]) => void;
    }
  | { readonly go: false; readonly decision?: Decision; readonly error: ProxyError };

/** A text to keep with the event: already masked, bounded by the caller. */
export interface Content {
  readonly part: ContentRef["part"];
  readonly text: string;
  readonly truncated?: boolean;
  readonly whole?: ContentRef["whole"];
}

/** A connection that outlives its grant is cut at the next idle point, and at the latest after this. */
export const endDeadlineMs = 10_000;

/** What the gate needs of the grant keeper. Names are `namespace/name`. */
export interface Grants {
  current(connection: string): LiveGrant | undefined;
  acquire(connection: string, signal: AbortSignal): Promise<LiveGrant>;
  openRequest(request: OpenRequest, signal: AbortSignal): Promise<RequestState>;
  /** Resolves when the request is no longer Pending, or rejects when the signal aborts. */
  awaitDecision(name: string, signal: AbortSignal): Promise<RequestState>;
  /** Compare-and-swap at the operator: true at most once per approval. */
  spend(
    name: string,
    digest: string,
    signal: AbortSignal,
  ): Promise<{ spent: boolean; reason?: string }>;
  /** Keeps the grant renewed until the returned function is called: an open session is use. */
  keepInUse(connection: string): () => void;
  /** Tells which tools were seen; resolves to those that are pinned now. Throws ProxyError. */
  pinTools(tools: SeenTools, signal: AbortSignal): Promise<readonly ToolPin[]>;
}

/** What the gate needs of the audit spool. Appending throws ProxyError RecordingUnavailable when the spool is full or broken. */
export interface Recorder {
  /** Nearly full or broken: new operations wait for `room`. */
  full(): boolean;
  /** Resolves when there is room again; rejects with RecordingUnavailable after a bounded wait. */
  room(signal?: AbortSignal): Promise<void>;
  append(type: EventType, body: EventBody, contents?: readonly Content[]): { readonly seq: number };
  appendDurably(
    type: EventType,
    body: EventBody,
    contents?: readonly Content[],
  ): Promise<{ readonly seq: number }>;
}

/** Contents longer than this are cut and marked `truncated`: one event must never fill the spool. */
export const maxContentBytes = 64 * 1024;
