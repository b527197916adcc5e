// What a proxy and the operator say to each other over HTTPS: one typed file that both import; neither owns the other.
//
//   POST /v1/token               RFC 8693 exchange, DPoP (RFC 9449): pod grant, or a connection grant when `audience` names a connection
//   GET  /v1/jwks                the keys that sign grants (RFC 7517)
//   GET  /v1/stream              newline-delimited JSON, one StreamMessage a line, for as long as the pod grant lives
//   POST /v1/events              EventDelivery -> EventAck
//   POST /v1/requests            OpenRequest -> RequestState
//   GET  /v1/requests/:name      RequestState
//   POST /v1/requests/:name/spend  SpendRequest -> SpendAnswer (compare-and-swap: true at most once)
//   POST /v1/tools               SeenTools -> PinnedTools
//   POST /v1/budgets             BudgetCall -> BudgetAnswer (contract/budget.ts)
//   POST /v1/view                ProxyView, what this proxy enforces now
// All but token and jwks carry `Authorization: DPoP <grant>` and a `DPoP` proof with `ath`.
import type { Bundle } from "../policy/bundle.ts";
import type { ConnectionId } from "../policy/operation.ts";
import type { ContentRecord, ContentRef, StoredEvent } from "./event.ts";

/** Spoken version; each side also accepts the one before. */
export const controlVersion = 1;

export const tokenExchangeGrantType = "urn:ietf:params:oauth:grant-type:token-exchange";
export const jwtTokenType = "urn:ietf:params:oauth:token-type:jwt";
export const grantTokenType = "urn:chaperone:params:oauth:token-type:grant";
/** Audience of the projected token and of the pod grant. */
export const podAudience = "chaperone.dev";

/** `audience` parameter and `aud` claim of a connection grant. */
export function connectionAudience(namespace: string, name: string): string {
  return `urn:chaperone:connection:${namespace}/${name}`;
}

export interface TlsSettings {
  readonly mode: "Disable" | "VerifyFull";
  /** PEM; absent means the proxy's own roots. */
  readonly ca?: string;
  /** PEM, both; a credential like the lease: in memory only. */
  readonly clientCertificate?: { readonly certificate: string; readonly key: string };
  /** `sha256/` + base64 of the server key's SubjectPublicKeyInfo: one of them, besides the chain and the name. */
  readonly pins?: readonly string[];
}

export interface HeaderField {
  readonly name: string;
  readonly value: string;
}

export interface HostAddress {
  readonly host: string;
  readonly port: number;
}

/** Which server a session may be opened on, as libpq's `target_session_attrs`. */
export type TargetSessionAttrs =
  | "any"
  | "read-write"
  | "read-only"
  | "primary"
  | "standby"
  | "prefer-standby";

/** Where a proxy finds the upstream. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
  readonly tls: TlsSettings;
  /** Path of `endpoint.url` without a trailing slash; empty for none. HTTP protocols only. */
  readonly basePath: string;
  /** Cookies of the agent and of the upstream's answers pass. Absent: they are dropped. HTTP protocols only. */
  readonly cookies?: "Pass";
  /** What every request is given besides the credential; no secrets. HTTP protocols only. */
  readonly headers?: readonly HeaderField[];
  /** How often a safe request is sent again when its way there failed. Absent: never. HTTP protocols only. */
  readonly retries?: number;
  /** What happens when a tool changes. MCP only. */
  readonly toolChanges?: "RequireApproval" | "Deny" | "Allow";
  readonly database?: string;
  /** Tried in order when `host` cannot be used. */
  readonly fallbacks?: readonly HostAddress[];
  readonly targetSessionAttrs?: TargetSessionAttrs;
  /** Besides SCRAM-SHA-256. */
  readonly dangerouslyAllowAuthentication?: readonly ("md5" | "cleartext")[];
}

/** The upstream credential, handed to a proxy for the life of a grant and kept in memory only. */
export type Lease =
  | { readonly kind: "none" }
  | { readonly kind: "password"; readonly username: string; readonly password: string }
  | { readonly kind: "headers"; readonly headers: readonly HeaderField[] }
  /** As they are meant; percent-encoded when sent. */
  | { readonly kind: "query"; readonly name: string; readonly value: string }
  | AwsLease;

/** Every request is signed with it (AWS Signature Version 4). */
export interface AwsLease {
  readonly kind: "awsSigV4";
  readonly service: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of temporary keys. */
  readonly sessionToken?: string;
  /** `Unsigned` leaves the body to TLS. */
  readonly payload: "Signed" | "Unsigned";
}

/** Answer of POST /v1/token: RFC 8693 section 2.2.1 plus, for a connection grant, what the proxy needs to use it. */
export interface TokenAnswer {
  readonly access_token: string;
  readonly issued_token_type: typeof grantTokenType;
  readonly token_type: "DPoP";
  readonly expires_in: number;
  readonly grant?: ConnectionGrant;
}

export interface ConnectionGrant {
  readonly id: string;
  readonly connection: ConnectionId;
  readonly endpoint: Endpoint;
  readonly bundle: Bundle;
  readonly lease: Lease;
  /** RFC 3339. */
  readonly expiresAt: string;
}

/** RFC 6749 section 5.2 error shape, with our reason beside the standard code. */
export interface TokenError {
  readonly error:
    | "invalid_request"
    | "invalid_client"
    | "invalid_grant"
    | "invalid_target"
    | "unauthorized_client"
    | "unsupported_grant_type"
    | "invalid_dpop_proof"
    | "use_dpop_nonce"
    | "temporarily_unavailable";
  readonly error_description: string;
  /** Stable CamelCase code, e.g. `PodNotInjected`, `Quarantined`, `ConnectionNotFound`, `SecretNotFound`. */
  readonly reason?: string;
}

export type StreamMessage =
  | {
      readonly type: "hello";
      readonly version: number;
      readonly requires: readonly string[];
      readonly generation: number;
    }
  | { readonly type: "ping"; readonly generation: number }
  /** Something that governs this connection changed (policy, endpoint, credential): renew the grant now, act on open sessions. */
  | { readonly type: "changed"; readonly connection: string; readonly generation: number }
  /** The grant for this connection (`ns/name`, or `*`) is over: end its sessions. */
  | {
      readonly type: "revoked";
      readonly connection: string;
      readonly reason: string;
      readonly message: string;
      readonly generation: number;
    }
  | {
      readonly type: "quarantined";
      readonly name: string;
      readonly connections: readonly string[] | "*";
      readonly message: string;
      readonly generation: number;
    }
  | { readonly type: "lifted"; readonly name: string; readonly generation: number }
  | {
      readonly type: "request-decided";
      readonly request: RequestState;
      readonly generation: number;
    };

/** What a proxy sends: its events as they stand in its spool, each with the masked texts it refers to. */
export interface EventDelivery {
  readonly stream: string;
  readonly records: readonly EventRecord[];
  /** Hash of the last event, signed (compact JWS, EdDSA or ES256) with the proxy's grant key. */
  readonly head: string;
}

export interface EventRecord extends StoredEvent {
  readonly contents?: readonly (ContentRef & { readonly text: string })[];
}

/** The same as the store takes it, texts apart. */
export interface EventBatch {
  readonly stream: string;
  readonly events: readonly StoredEvent[];
  readonly contents: readonly ContentRecord[];
  /** Hash of the last event, signed (compact JWS, EdDSA or ES256) with the proxy's grant key. */
  readonly head: string;
}

/** `acknowledged`: the highest sequence number that is committed with every one before it. */
export interface EventAck {
  readonly acknowledged: number;
}

/** Where a held operation stands. `spent`: its one use is gone. */
export type RequestPhase = "Pending" | "Approved" | "Denied" | "Expired" | "Spent";

export interface OpenRequest {
  readonly connection: string;
  readonly session: string;
  /** SHA-256 over the exact operation (docs/reference/requests.md), `sha256-` + base64url. */
  readonly digest: string;
  readonly kind: string;
  /** What an approver sees: deparsed statement with controls stripped, or method, host and path. */
  readonly summary: string;
  /** Parameters or body, fetched by approvers from the operator, never written into the resource. */
  readonly detail?: string;
  readonly approvals: readonly {
    readonly policy: string;
    readonly rule: string;
    readonly approvers: readonly { readonly group?: string; readonly user?: string }[];
    readonly count: number;
    readonly validForSeconds: number;
  }[];
  readonly chain?: string;
}

export interface RequestState {
  readonly name: string;
  readonly phase: RequestPhase;
  readonly connection: string;
  readonly digest: string;
  /** Who decided, as the authenticated identity says. */
  readonly by?: string;
  readonly reason?: string;
  /** RFC 3339; an approval not used by then is over. */
  readonly validUntil?: string;
}

export interface SpendRequest {
  readonly digest: string;
}

export interface SpendAnswer {
  readonly spent: boolean;
  readonly reason?: string;
}

/** A tool of an MCP server and the digest of its definition (policy/mcp/pin.ts). */
export interface ToolPin {
  readonly name: string;
  readonly digest: string;
}

/** More tools than this are not pinned, and so not used: the list stands in the Connection's status. */
export const maxPinnedTools = 512;

export interface SeenTools {
  readonly connection: string;
  /** Pinned where no pin of that name stands. */
  readonly seen: readonly ToolPin[];
  /** Pinned in the place of what stands: the Connection, a rule or a person lets it change. */
  readonly changed: readonly ToolPin[];
}

/** What stands now. */
export interface PinnedTools {
  readonly tools: readonly ToolPin[];
}

export interface ProxyView {
  readonly generation: number;
  readonly proxyVersion: string;
  readonly features: readonly string[];
  readonly connections: readonly {
    readonly connection: string;
    readonly bundle: string;
    readonly activeSessions: number;
    readonly unusable?: string;
  }[];
}
