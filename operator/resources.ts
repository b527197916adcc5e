// What the control plane reads and keeps, whichever way it is run: from a cluster's API server (kube/) or from files (cli/dev/).
import type { ToolPin } from "../contract/control.ts";
import type { PriceTable } from "../policy/budget/price.ts";
import type {
  AccessPolicy,
  AccessRequest,
  ClusterAccessPolicy,
  Connection,
  Quarantine,
} from "../crds/types.gen.ts";
import type { TierJudgement } from "./injection/tier.ts";

export type ResourceKind =
  | "Connection"
  | "AccessPolicy"
  | "ClusterAccessPolicy"
  | "Quarantine"
  | "Secret"
  | "Pod"
  /** The price table. */
  | "ConfigMap";

export interface ResourceChange {
  readonly kind: ResourceKind;
  /** Empty for what belongs to none. */
  readonly namespace: string;
  readonly name: string;
  readonly generation: number;
}

/** A view of the resources that govern; reads are synchronous and cheap, the view is kept fresh behind it. */
export interface ResourceView {
  connection(namespace: string, name: string): Connection | undefined;
  /** Of every namespace. */
  allConnections(): Iterable<Connection>;
  /** Sorted by name. */
  connectionsIn(namespace: string): readonly Connection[];
  policiesIn(namespace: string): readonly AccessPolicy[];
  /** Sorted by name. */
  clusterPolicies(): readonly ClusterAccessPolicy[];
  quarantines(): readonly Quarantine[];
  /** What tokens cost; undefined where no table stands. The same object until it changes. */
  prices(): PriceTable | undefined;
  /** Decoded values of a Secret; undefined when it is not there. */
  secret(
    namespace: string,
    name: string,
    signal: AbortSignal,
  ): Promise<Readonly<Record<string, string>> | undefined>;
  /** Called after the view holds the change. Returns the unsubscribe function. */
  onChange(listener: (change: ResourceChange) => void): () => void;
  /** Counts up with every change this process has seen. */
  generation(): number;
}

/** Where access requests live: AccessRequest resources in a cluster, files in local mode. Writes are compare-and-swap on resourceVersion. */
/** Where the pins of MCP tools stand; names are `namespace/name`. */
export interface PinStore {
  read(connection: string): Promise<readonly ToolPin[]>;
  write(connection: string, tools: readonly ToolPin[], signal: AbortSignal): Promise<void>;
}

export interface RequestStore {
  create(request: AccessRequest, signal: AbortSignal): Promise<AccessRequest>;
  get(namespace: string, name: string, signal: AbortSignal): Promise<AccessRequest | undefined>;
  list(namespace: string | undefined, signal: AbortSignal): Promise<readonly AccessRequest[]>;
  /** Throws RequestConflict when the stored resourceVersion is not the given object's. */
  updateStatus(request: AccessRequest, signal: AbortSignal): Promise<AccessRequest>;
  onChange(listener: (request: AccessRequest) => void): () => void;
}

export class RequestConflict extends Error {
  constructor(name: string) {
    super(`access request ${name} was changed by someone else; read it again`);
    this.name = "RequestConflict";
  }
}

/** The pod behind a proven token. */
export interface PodIdentity {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly pod: string;
  readonly podUid: string;
  /** From the pod's annotation. */
  readonly chain?: string;
  /** `namespace/name` of every connection this pod may ask a grant for. */
  readonly connections: readonly string[];
  /** Names of the Secrets that the pod itself mounts or reads as it stands now; none on a laptop. */
  readonly secrets?: readonly string[];
  /** The pod's author chose its name servers: what a name leads to is their word. */
  readonly ownNameServers?: boolean;
  /** How strongly the pod is held as it stands now; left out, not at all. `Local`: no pod, but a person's own machine. */
  readonly tier?: TierJudgement | "Local";
  /** Start time of our container as the kubelet reports it (RFC 3339); a new key is accepted only after a restart. */
  readonly proxyStartedAt?: string;
}

/** Proves a subject token: TokenReview and the pod behind it in a cluster, the local issuer on a laptop. Throws TokenRefused. */
export interface IdentityVerifier {
  verify(token: string, peerAddress: string, signal: AbortSignal): Promise<PodIdentity>;
}

/** Why a token was not accepted; `reason` is a stable code (TokenExpired, WrongAudience, PodNotFound, PodNotInjected, PeerAddressMismatch …). */
export class TokenRefused extends Error {
  readonly reason: string;
  /** False: the token is not to be trusted; true: we could not find out (API server away). */
  readonly temporary: boolean;

  constructor(reason: string, message: string, options?: { cause?: unknown; temporary?: boolean }) {
    super(message, options);
    this.name = "TokenRefused";
    this.reason = reason;
    this.temporary = options?.temporary ?? false;
  }
}
