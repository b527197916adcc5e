// A PostgreSQL room in front of a real server, behind the real gate; only grants and recorder are kept in memory.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import { createSecureContext } from "node:tls";
import type { Endpoint, Lease, RequestState } from "../../contract/control.ts";
import type { EventBody, EventType } from "../../contract/event.ts";
import type { Bundle, BundleRule } from "../../policy/bundle.ts";
import { prepare } from "../../policy/decide.ts";
import { loadSqlGrammar, type SqlGrammar } from "../../policy/sql/grammar.ts";
import type { ProxyError } from "../../proxy/errors.ts";
import { createGate } from "../../proxy/gate.ts";
import type { ManagedGate } from "../../proxy/gate.ts";
import { PodMarks } from "../../proxy/marks.ts";
import type { Content, Grants, LiveGrant, Recorder } from "../../proxy/pipeline.ts";
import { createPostgresRoom } from "../../proxy/postgres/room.ts";
import { createUnderstanding } from "../../proxy/postgres/understand.ts";
import type { PostgresServer } from "./postgres-server.ts";
import { issueServerCertificate } from "./postgres-tls.ts";

export interface RecordedEvent {
  readonly type: EventType;
  readonly body: EventBody;
  readonly contents: readonly Content[];
}

export interface Harness {
  readonly port: number;
  readonly host: string;
  /** CA of the certificate the room shows its clients. */
  readonly caPem: string;
  readonly events: RecordedEvent[];
  readonly gate: ManagedGate;
  /** What the policy of the connection says from now on. */
  setRules(rules: readonly BundleRule[], changes?: Partial<Bundle>): void;
  setEndpoint(changes: Partial<Endpoint>): void;
  setLease(lease: Lease): void;
  /** Answers the access request that waits, or the next one. */
  answerRequest(phase: "Approved" | "Denied"): void;
  readonly requests: {
    readonly digest: string;
    readonly summary: string;
    readonly detail?: string;
  }[];
  operations(): RecordedEvent[];
  end(cause: ProxyError): void;
  /** Sockets to the upstream opened so far. */
  dialled(): number;
  close(): Promise<void>;
}

let generation = 0;

export function bundleOf(rules: readonly BundleRule[], changes: Partial<Bundle> = {}): Bundle {
  generation += 1;
  return {
    version: 1,
    requires: [],
    generation: `generation-${generation}`,
    connection: { namespace: "agents", name: "orders-db", protocol: "postgres" },
    subject: { namespace: "agents", serviceAccount: "invoice-agent" },
    policies: ["agents/invoice-agent"],
    observeOnly: false,
    rules,
    columnMasks: [],
    detectMasks: [],
    maskKey: Buffer.alloc(32, 7).toString("base64url"),
    limits: {},
    recording: { detail: "Statements", strict: false, retentionDays: 30 },
    grantTtlSeconds: 300,
    ...changes,
  };
}

export function allow(sql: BundleRule["sql"], name = "allow"): BundleRule {
  return {
    policy: "agents/invoice-agent",
    name,
    action: "Allow",
    mode: "Enforce",
    ...(sql === undefined ? {} : { sql }),
  };
}

export function deny(sql: BundleRule["sql"], name = "deny"): BundleRule {
  return { ...allow(sql, name), action: "Deny" };
}

export function hold(sql: BundleRule["sql"], holdSeconds: number, name = "hold"): BundleRule {
  return {
    ...allow(sql, name),
    action: "RequireApproval",
    approval: { approvers: [{ group: "leads" }], count: 1, holdSeconds, validForSeconds: 600 },
  };
}

/** Whatever is recognised passes, opaque statements named by kind among it. */
export const everything: readonly BundleRule[] = [
  allow(undefined, "anything"),
  allow({ functions: ["*"] }, "any function"),
  allow({ statements: ["do", "call", "utility", "other"] }, "opaque statements"),
];

export async function startHarness(
  server: PostgresServer,
  options: {
    readonly database?: string;
    readonly startupDeadlineMs?: number;
    readonly memoryPatienceMs?: number;
    readonly holdNoticeMs?: number;
    /** Of the pod's session. */
    readonly marks?: PodMarks;
    /** The room's clock. */
    readonly now?: () => number;
    /** Reads the clients' texts; PostgreSQL's own by default. */
    readonly grammar?: SqlGrammar;
  } = {},
): Promise<Harness> {
  const issued = await issueServerCertificate(["localhost"], ["127.0.0.1"]);
  const context = createSecureContext({ cert: issued.certificatePem, key: issued.keyPem });
  const understanding = createUnderstanding(options.grammar ?? (await loadSqlGrammar()));
  const events: RecordedEvent[] = [];
  const state = createState(server, options.database ?? "postgres");
  const recorder = createRecorder(events);
  const gate = createGate({
    connection: { namespace: "agents", name: "orders-db", protocol: "postgres" },
    subject: { namespace: "agents", serviceAccount: "invoice-agent", pod: "pod", podUid: "uid" },
    grants: state.grants,
    recorder,
    marks: options.marks ?? new PodMarks(),
    now: Date.now,
  });
  let dialled = 0;
  const room = createPostgresRoom({
    tlsContext: () => context,
    dial: async (host, port, signal) => {
      dialled += 1;
      const socket = connect({ host, port });
      // One that is reset after nobody waits for it any more must not end the process.
      socket.on("error", () => undefined);
      await once(socket, "connect", { signal });
      return socket;
    },
    ...understanding,
    ...options,
  });
  const sockets = new Set<Socket>();
  const listener = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    room.accept(socket, gate);
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const address = listener.address();
  if (address === null || typeof address === "string") throw new Error("no address");
  return {
    port: address.port,
    host: "127.0.0.1",
    caPem: issued.caPem,
    events,
    gate,
    ...state.controls,
    operations: () => events.filter((event) => event.type === "operation"),
    end: (cause) => gate.end(cause),
    dialled: () => dialled,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      listener.close();
      await room.close();
    },
  };
}

function createRecorder(events: RecordedEvent[]): Recorder {
  let seq = 0;
  const append: Recorder["append"] = (type, body, contents = []) => {
    events.push({ type, body, contents });
    seq += 1;
    return { seq };
  };
  return {
    full: () => false,
    room: async () => undefined,
    append,
    appendDurably: async (type, body, contents) => {
      await Promise.resolve();
      return append(type, body, contents);
    },
  };
}

function createState(server: PostgresServer, database: string) {
  let endpoint: Endpoint = {
    host: server.host,
    port: server.port,
    tls:
      server.caPem === undefined ? { mode: "Disable" } : { mode: "VerifyFull", ca: server.caPem },
    basePath: "",
    database,
  };
  let lease: Lease = { kind: "password", username: server.superuser, password: server.password };
  let bundle = bundleOf(everything);
  let live: LiveGrant | undefined;
  const refresh = (): void => {
    live = { id: "grant", endpoint, lease, bundle, prepared: prepare(bundle) };
  };
  refresh();
  const requests: { digest: string; summary: string; detail?: string }[] = [];
  const byDigest = new Map<string, RequestState>();
  const waiters = new Set<() => void>();
  const grants: Grants = {
    current: () => live,
    acquire: async () => {
      if (live === undefined) throw new Error("no grant");
      return live;
    },
    openRequest: async (request) => {
      const known = byDigest.get(request.digest);
      if (known !== undefined) return known;
      requests.push({
        digest: request.digest,
        summary: request.summary,
        ...(request.detail === undefined ? {} : { detail: request.detail }),
      });
      const opened: RequestState = {
        name: `request-${requests.length}`,
        phase: "Pending",
        connection: request.connection,
        digest: request.digest,
      };
      byDigest.set(request.digest, opened);
      for (const wake of waiters) wake();
      return opened;
    },
    awaitDecision: (name, signal) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          for (const request of byDigest.values()) {
            if (request.name !== name || request.phase === "Pending") continue;
            waiters.delete(look);
            resolve(request);
          }
        };
        waiters.add(look);
        signal.addEventListener("abort", () => {
          waiters.delete(look);
          reject(signal.reason);
        });
        look();
      }),
    spend: async (name, digest) => {
      const request = byDigest.get(digest);
      if (request?.name !== name || request.phase !== "Approved") return { spent: false };
      byDigest.set(digest, { ...request, phase: "Spent" });
      return { spent: true };
    },
    keepInUse: () => () => undefined,
    pinTools: async ({ seen }) => seen,
  };
  return {
    grants,
    controls: {
      requests,
      setRules: (rules: readonly BundleRule[], changes?: Partial<Bundle>) => {
        bundle = bundleOf(rules, changes);
        refresh();
      },
      setEndpoint: (changes: Partial<Endpoint>) => {
        endpoint = { ...endpoint, ...changes };
        refresh();
      },
      setLease: (next: Lease) => {
        lease = next;
        refresh();
      },
      answerRequest: (phase: "Approved" | "Denied") => {
        for (const [digest, request] of byDigest)
          if (request.phase === "Pending") byDigest.set(digest, { ...request, phase, by: "lead" });
        for (const wake of waiters) wake();
      },
    },
  };
}
