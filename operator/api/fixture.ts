// For tests: resources and access requests in memory, an issuer of real tokens, and an API that serves them over a real socket.
import { generateKeyPairSync, randomUUID, type KeyObject } from "node:crypto";
import { errors, jwtVerify, SignJWT } from "jose";
import { pino } from "pino";
import { type CheckedBatch, checkDelivery } from "../audit/check.ts";
import { podAudience } from "../../contract/control.ts";
import type { EventBody, EventType } from "../../contract/event.ts";
import type {
  AccessPolicy,
  AccessRequest,
  ClusterAccessPolicy,
  Connection,
  PolicyRule,
  Quarantine,
  QuarantineSpec,
} from "../../crds/types.gen.ts";
import { memoryAccounts } from "../budgets/accounts.ts";
import type { PriceTable } from "../../policy/budget/price.ts";
import { SigningKeys, type KeyStore, type StoredKeys } from "../grants/keys.ts";
import {
  RequestConflict,
  TokenRefused,
  type IdentityVerifier,
  type PodIdentity,
  type RequestStore,
  type ResourceChange,
  type ResourceKind,
  type ResourceView,
} from "../resources.ts";
import type { ApiReader, EventSink } from "./audit.ts";
import { ProvenTokens } from "../kube/proven-tokens.ts";
import { localPeople, type PeopleAuthenticator, type Person } from "./people.ts";
import { startApi, type Api, type ApiOptions } from "./server.ts";

export class MemoryResources implements ResourceView {
  readonly #connections = new Map<string, Connection>();
  readonly #policies = new Map<string, AccessPolicy>();
  readonly #clusterPolicies = new Map<string, ClusterAccessPolicy>();
  readonly #quarantines = new Map<string, Quarantine>();
  readonly #secrets = new Map<string, Readonly<Record<string, string>>>();
  readonly #listeners = new Set<(change: ResourceChange) => void>();
  #generation = 0;
  #prices: PriceTable | undefined;
  /** Runs inside every Secret read, to change things at the worst moment. */
  onSecretRead: () => Promise<void> = async () => undefined;

  connection(namespace: string, name: string): Connection | undefined {
    return this.#connections.get(`${namespace}/${name}`);
  }
  allConnections(): Iterable<Connection> {
    return this.#connections.values();
  }
  connectionsIn(namespace: string): readonly Connection[] {
    return [...this.#connections.values()]
      .filter(({ metadata }) => metadata.namespace === namespace)
      .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  }
  policiesIn(namespace: string): readonly AccessPolicy[] {
    return [...this.#policies.values()].filter(({ metadata }) => metadata.namespace === namespace);
  }
  clusterPolicies(): readonly ClusterAccessPolicy[] {
    return [...this.#clusterPolicies.values()];
  }
  quarantines(): readonly Quarantine[] {
    return [...this.#quarantines.values()];
  }
  prices(): PriceTable | undefined {
    return this.#prices;
  }
  putPrices(prices: PriceTable | undefined): void {
    this.#prices = prices;
    this.#changed("ConfigMap", "chaperone-system", "chaperone-prices");
  }
  async secret(
    namespace: string,
    name: string,
  ): Promise<Readonly<Record<string, string>> | undefined> {
    await this.onSecretRead();
    return this.#secrets.get(`${namespace}/${name}`);
  }
  onChange(listener: (change: ResourceChange) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
  generation(): number {
    return this.#generation;
  }

  putCluster(policy: ClusterAccessPolicy): void {
    this.#clusterPolicies.set(policy.metadata.name, policy);
    this.#changed("ClusterAccessPolicy", "", policy.metadata.name);
  }
  deleteCluster(name: string): void {
    this.#clusterPolicies.delete(name);
    this.#changed("ClusterAccessPolicy", "", name);
  }
  put(object: Connection | AccessPolicy | Quarantine): void {
    const { namespace, name } = object.metadata;
    const key = `${namespace}/${name}`;
    if (object.kind === "Connection") this.#connections.set(key, object);
    else if (object.kind === "AccessPolicy") this.#policies.set(key, object);
    else this.#quarantines.set(key, object);
    this.#changed(object.kind, namespace, name);
  }
  putSecret(namespace: string, name: string, values: Readonly<Record<string, string>>): void {
    this.#secrets.set(`${namespace}/${name}`, values);
    this.#changed("Secret", namespace, name);
  }
  delete(kind: ResourceKind, namespace: string, name: string): void {
    const key = `${namespace}/${name}`;
    for (const kept of [this.#connections, this.#policies, this.#quarantines, this.#secrets]) {
      const holdsKind =
        kept ===
        {
          Connection: this.#connections,
          AccessPolicy: this.#policies,
          ClusterAccessPolicy: undefined,
          Quarantine: this.#quarantines,
          Secret: this.#secrets,
          Pod: undefined,
          ConfigMap: undefined,
        }[kind];
      if (holdsKind) kept.delete(key);
    }
    this.#changed(kind, namespace, name);
  }

  #changed(kind: ResourceKind, namespace: string, name: string): void {
    this.#generation += 1;
    for (const listener of this.#listeners)
      listener({ kind, namespace, name, generation: this.#generation });
  }
}

/** Compare-and-swap as an API server does it; every call yields once, so that concurrent callers really interleave. */
export class MemoryRequests implements RequestStore {
  readonly #requests = new Map<string, AccessRequest>();
  readonly #listeners = new Set<(request: AccessRequest) => void>();
  #version = 0;

  async create(request: AccessRequest): Promise<AccessRequest> {
    await nextTurn();
    const key = `${request.metadata.namespace}/${request.metadata.name}`;
    if (this.#requests.has(key))
      throw new Error(`accessrequests "${request.metadata.name}" already exists`);
    return this.#store(key, request);
  }
  async get(namespace: string, name: string): Promise<AccessRequest | undefined> {
    await nextTurn();
    return this.#requests.get(`${namespace}/${name}`);
  }
  async list(namespace: string | undefined): Promise<readonly AccessRequest[]> {
    await nextTurn();
    return [...this.#requests.values()].filter(
      ({ metadata }) => namespace === undefined || metadata.namespace === namespace,
    );
  }
  async updateStatus(request: AccessRequest): Promise<AccessRequest> {
    await nextTurn();
    const key = `${request.metadata.namespace}/${request.metadata.name}`;
    if (this.#requests.get(key)?.metadata.resourceVersion !== request.metadata.resourceVersion)
      throw new RequestConflict(key);
    return this.#store(key, request);
  }
  onChange(listener: (request: AccessRequest) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #store(key: string, request: AccessRequest): AccessRequest {
    this.#version += 1;
    const stored = {
      ...request,
      metadata: { ...request.metadata, resourceVersion: String(this.#version) },
    };
    this.#requests.set(key, stored);
    for (const listener of this.#listeners) listener(stored);
    return stored;
  }
}

/** Issues and verifies service-account tokens with a key of its own: what TokenReview does in a cluster. */
export class LocalIssuer implements IdentityVerifier {
  readonly #keys: { readonly publicKey: KeyObject; readonly privateKey: KeyObject } =
    generateKeyPairSync("ec", { namedCurve: "P-256" });
  readonly #pods = new Map<string, PodIdentity>();
  /** As in a cluster (kube/token-claims.ts). */
  readonly #proven = new ProvenTokens<string>(Date.now);
  readonly peers: string[] = [];
  isAway = false;

  setPod(pod: PodIdentity): void {
    this.#pods.set(pod.podUid, pod);
  }

  async token(
    podUid: string,
    claims: { readonly audience?: string; readonly expiresInSeconds?: number } = {},
  ): Promise<string> {
    const now = Math.floor(Date.now() / 1000);
    return await new SignJWT({ pod: podUid })
      .setProtectedHeader({ alg: "ES256" })
      .setIssuer("https://issuer.test")
      .setAudience(claims.audience ?? podAudience)
      .setIssuedAt(now)
      .setExpirationTime(now + (claims.expiresInSeconds ?? 600))
      .setJti(randomUUID())
      .sign(this.#keys.privateKey);
  }

  async verify(token: string, peerAddress: string): Promise<PodIdentity> {
    this.peers.push(peerAddress);
    if (this.isAway)
      throw new TokenRefused("ApiServerAway", "the API server cannot be asked now", {
        temporary: true,
      });
    const podUid = this.#proven.get(token) ?? (await this.#prove(token));
    const pod = this.#pods.get(podUid);
    if (pod === undefined) throw new TokenRefused("PodNotFound", "there is no such pod");
    return pod;
  }

  async #prove(token: string): Promise<string> {
    try {
      const { payload } = await jwtVerify(token, this.#keys.publicKey, {
        audience: podAudience,
        issuer: "https://issuer.test",
      });
      const podUid = String(payload["pod"]);
      this.#proven.add(token, podUid, (payload.exp ?? 0) * 1000);
      return podUid;
    } catch (cause) {
      if (cause instanceof errors.JWTExpired)
        throw new TokenRefused("TokenExpired", "the token has expired", { cause });
      if (cause instanceof errors.JWTClaimValidationFailed && cause.claim === "aud")
        throw new TokenRefused("WrongAudience", "the token is for another audience", { cause });
      throw new TokenRefused("TokenInvalid", "the token is not ours", { cause });
    }
  }
}

export function memoryKeyStore(): KeyStore & { readonly saved: StoredKeys[] } {
  const saved: StoredKeys[] = [];
  return {
    saved,
    load: async () => ({ keys: saved.at(-1), revision: String(saved.length) }),
    async save(keys, revision) {
      if (revision !== String(saved.length)) return false;
      saved.push(keys);
      return true;
    },
  };
}

export const ordersDb = "agents/orders-db";

export function connection(
  overrides: Partial<Connection["spec"]> = {},
  name = "orders-db",
  namespace = "agents",
): Connection {
  return {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "Connection",
    metadata: { name, namespace },
    spec: {
      protocol: "postgres",
      endpoint: { host: "postgres.data.svc", port: 5432, tls: { mode: "VerifyFull" } },
      credential: {
        static: { secretRef: { name }, usernameKey: "username", passwordKey: "password" },
      },
      onFailure: "closed",
      ...overrides,
    },
  };
}

export const approvalRule: PolicyRule = {
  name: "updates-need-a-person",
  action: "RequireApproval",
  sql: { statements: ["update"] },
  approval: { approvers: [{ group: "finance-leads" }], count: 1, hold: "50s", validFor: "10m" },
};

export function policy(
  overrides: Partial<AccessPolicy["spec"]> = {},
  name = "invoice-agent",
  namespace = "agents",
): AccessPolicy {
  return {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessPolicy",
    metadata: { name, namespace },
    spec: {
      targetRefs: [{ group: "chaperone.dev", kind: "Connection", name: "orders-db" }],
      subjects: [{ serviceAccounts: ["invoice-agent"] }],
      mode: "Enforce",
      rules: [{ name: "read", action: "Allow", sql: { statements: ["select"] } }, approvalRule],
      ...overrides,
    },
  };
}

export function clusterPolicy(
  spec: ClusterAccessPolicy["spec"],
  name = "guard",
): ClusterAccessPolicy {
  return {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "ClusterAccessPolicy",
    metadata: { name },
    spec,
  };
}

export function quarantine(
  spec: Partial<QuarantineSpec>,
  name = "stop",
  namespace = "agents",
): Quarantine {
  return {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "Quarantine",
    metadata: { name, namespace },
    spec: { reason: "it misbehaves", ...spec },
  };
}

export function podIdentity(overrides: Partial<PodIdentity> = {}): PodIdentity {
  return {
    namespace: "agents",
    serviceAccount: "invoice-agent",
    pod: "invoice-7c9d",
    podUid: "6f1c0000-0000-4000-8000-000000000001",
    connections: [ordersDb],
    proxyStartedAt: "2026-11-20T10:00:00Z",
    ...overrides,
  };
}

export interface Recorded {
  readonly type: EventType;
  readonly body: EventBody;
}

export interface TestApi extends Api {
  readonly view: MemoryResources;
  readonly requests: MemoryRequests;
  readonly issuer: LocalIssuer;
  readonly keys: SigningKeys;
  readonly recorded: Recorded[];
  readonly batches: CheckedBatch[];
}

/** One connection with its Secret and policy, one pod, and the API on a loopback port unless told otherwise. */
export async function startTestApi(
  overrides: Partial<ApiOptions> & {
    readonly issuer?: LocalIssuer;
    readonly resources?: MemoryResources;
    readonly store?: MemoryRequests;
  } = {},
): Promise<TestApi> {
  const view = overrides.resources ?? new MemoryResources();
  const requests = overrides.store ?? new MemoryRequests();
  const issuer = overrides.issuer ?? new LocalIssuer();
  const now = overrides.now ?? Date.now;
  const keys =
    overrides.keys ??
    (await SigningKeys.open({ store: memoryKeyStore(), now }, AbortSignal.timeout(5_000)));
  const recorded: Recorded[] = [];
  const batches: CheckedBatch[] = [];
  if (overrides.resources === undefined) {
    view.put(connection());
    view.put(policy());
    view.putSecret("agents", "orders-db", { username: "app", password: "s3cret" });
  }
  if (overrides.issuer === undefined) issuer.setPod(podIdentity());
  const sink: EventSink = {
    async ingest(delivery) {
      const batch = checkDelivery(delivery);
      batches.push(batch);
      return { acknowledged: batch.events.at(-1)?.header.seq ?? 0 };
    },
  };
  const api = await startApi({
    view,
    requests,
    pins: { read: async () => [], write: async () => {} },
    identity: issuer,
    keys,
    events: sink,
    reader: emptyReader(),
    accounts: memoryAccounts(),
    people: overrides.isLocal === true ? localPeople("tester") : everyone(alice),
    record: (type, body) => void recorded.push({ type, body }),
    logger: pino({ level: "silent" }),
    now,
    listen: { loopbackPort: 0 },
    operatorNamespace: "chaperone-system",
    isLocal: false,
    ...overrides,
  });
  return { ...api, view, requests, issuer, keys, recorded, batches };
}

export const alice: Person = {
  username: "alice@example.com",
  uid: "uid-alice",
  groups: ["staff", "finance-leads"],
  isServiceAccount: false,
  local: false,
};

/** Whoever asks is this person and may do everything. */
export function everyone(person: Person): PeopleAuthenticator {
  return { authenticate: async () => person, authorize: async () => true };
}

function emptyReader(): ApiReader {
  return {
    events: async () => ({ events: [], cursor: 0 }),
    sessions: async () => [],
    session: async () => undefined,
    recording: async () => ({ events: [], contents: [] }),
    verify: async () => [],
    budgets: async () => [],
  };
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
