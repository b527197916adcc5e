// One audit event: a small hash-chained header and a body (docs/reference/events.md). Proxies write them, the store keeps them, people verify them.

export type EventType =
  | "operation"
  | "intent"
  | "session-start"
  | "session-end"
  | "grant"
  | "revoke"
  | "request-opened"
  | "request-decided"
  | "quarantine"
  | "tool-pinned"
  | "gap"
  | "mark"
  | "error";

/** `hash` = `sha256-` + base64url(SHA-256(JCS of the header without `hash`)); `prev` is the hash before it, 43 `A` at the start. */
export interface EventHeader {
  readonly stream: string;
  readonly seq: number;
  /** RFC 3339, UTC, milliseconds. */
  readonly time: string;
  readonly type: EventType;
  readonly prev: string;
  readonly bodyHash: string;
}

export interface EventSubject {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly pod: string;
  readonly podUid: string;
  readonly chain?: string;
}

export interface EventOutcome {
  /** ok: the upstream did it; error: the upstream refused or failed; denied, pending: it never got there; unknown: sent, no answer seen. */
  readonly status: "ok" | "error" | "denied" | "pending" | "unknown";
  readonly rows?: number;
  readonly httpStatus?: number;
  readonly bytesIn?: number;
  readonly bytesOut?: number;
  readonly durationMs?: number;
  /** With `recording.detail: Full`, the data of a COPY as the client sent it or got it: masked, without the framing of the protocol. */
  readonly copied?: { readonly sha256: string; readonly bytes: number };
  readonly masked?: {
    readonly columns?: readonly string[];
    readonly detected?: Readonly<Record<string, number>>;
  };
  readonly tokens?: EventTokens;
  readonly error?: string;
  /** The limit that cut it off, as the policy calls it. */
  readonly limit?: string;
}

/** As the provider counted them. */
export interface EventTokens {
  /** All of the prompt, what came from a cache included. */
  readonly input: number;
  /** Thinking included. */
  readonly output: number;
  /** Of the input: read from the provider's cache, and written to it. */
  readonly cacheRead?: number;
  readonly cacheWrite?: number;
}

/** A masked text kept beside the event: a prompt, an answer, rows. The event carries its digest, so it is covered by the chain. */
export interface ContentRef {
  readonly part: "request" | "response" | "rows" | "params";
  readonly sha256: string;
  readonly bytes: number;
  readonly truncated?: boolean;
  /**
   * The texts that a proxy holds for events under way had no room for the rest of it: digest and size of all that passed, as it
   * passed. What is kept is its beginning.
   */
  readonly whole?: { readonly sha256: string; readonly bytes: number };
}

export interface EventDecision {
  readonly verdict: "allow" | "deny" | "hold";
  readonly policy: string;
  readonly rule: string;
  readonly reason: string;
  readonly message: string;
  readonly mode: "Enforce" | "Observe";
  /** The limit that refused it, as the policy calls it. */
  readonly limit?: string;
  readonly wouldBe?: {
    readonly verdict: string;
    readonly policy: string;
    readonly rule: string;
    readonly message: string;
  };
}

/** A place that no Connection names: what a Connection for it would have to say. */
export interface RefusedTarget {
  /** Lower case, without port. */
  readonly host: string;
  readonly port: number;
  /** `dns`: only its address was asked for, at port 53. `tcp`: a port that says nothing of what is spoken there. */
  readonly scheme: "https" | "http" | "tcp" | "dns";
  /** How many refusals this event stands for: the first of a place is told at once, those that follow are counted. */
  readonly count: number;
}

/** What put a mark on a pod's session. */
export interface EventMark {
  readonly name: string;
  /** `namespace/name` of the policy; absent where the Connection itself has the mark. */
  readonly policy?: string;
  readonly rule?: string;
  /** `schema.table.column` of the masking entry's column that was read. */
  readonly column?: string;
  /** The masking entry's detector that found something. */
  readonly detector?: string;
}

/** A mark that a pod's session carries, and how it came to: what was read where. */
export interface CarriedMark extends EventMark {
  /** RFC 3339, UTC, milliseconds. */
  readonly since: string;
  /** `namespace/name` */
  readonly connection: string;
  /** The session in which it was read. */
  readonly session: string;
  /** Summary of the operation that read it. */
  readonly operation: string;
}

/** The body: any of these, by type. Bodies may be deleted by retention; headers never are. */
export interface EventBody {
  readonly session?: string;
  readonly subject?: EventSubject;
  readonly connection?: {
    readonly namespace: string;
    readonly name: string;
    readonly protocol: string;
  };
  readonly operation?: {
    readonly kind: string;
    readonly summary: string;
    readonly facts?: Readonly<Record<string, unknown>>;
    /** How often each detector that a rule looks for found something in it. */
    readonly detected?: Readonly<Record<string, number>>;
    readonly digest?: string;
    readonly content?: readonly ContentRef[];
  };
  readonly decision?: EventDecision;
  readonly outcome?: EventOutcome;
  /** Sequence number of the intent that this operation event closes. */
  readonly intent?: number;
  readonly request?: {
    readonly name: string;
    readonly verdict?: string;
    readonly by?: string;
    readonly reason?: string;
  };
  readonly quarantine?: {
    readonly name: string;
    readonly reason: string;
    readonly state: "added" | "lifted";
  };
  readonly grant?: {
    readonly id: string;
    readonly expiresAt: string;
    readonly reason?: string;
    /** The database role made for it, as the server's own log names it. */
    readonly role?: string;
  };
  /** For type `mark`: the pod's session carries it from here on. */
  readonly mark?: EventMark;
  /** Where a rule that looks at marks refused the operation or held it: what the pod's session carried. */
  readonly marks?: readonly CarriedMark[];
  readonly gap?: { readonly from: number; readonly to: number; readonly reason: string };
  /** For type `error`: a stable code and a sentence; never a secret. */
  readonly error?: { readonly code: string; readonly message: string };
  /** For type `error`, code `HostUnknown`: where the agent wanted to go. */
  readonly target?: RefusedTarget;
  /** `local` in local mode: neither groups nor duties were checked. */
  readonly assurance?: "local";
}

export interface StoredEvent {
  readonly header: EventHeader;
  readonly hash: string;
  readonly body: EventBody;
}

export interface ContentRecord {
  readonly session: string;
  readonly seq: number;
  readonly part: ContentRef["part"];
  readonly sha256: string;
  readonly text: string;
}
