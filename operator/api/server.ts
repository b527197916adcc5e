// The operator's API for proxies and people: one HTTPS server in a cluster, a unix socket or loopback port in local mode.
import { chmod, mkdir, rm } from "node:fs/promises";
import { lookup } from "node:dns/promises";
import { createConnection } from "node:net";
import { dirname } from "node:path";
import fastify, {
  LogController,
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyInstance,
} from "fastify";
import type { EventBody, EventSubject, EventType } from "../../contract/event.ts";
import { Approvals } from "../approvals/approvals.ts";
import type { AccessRequest } from "../../crds/types.gen.ts";
import type { Barred } from "../approvals/decide.ts";
import { memoryDetails, type DetailStore } from "../approvals/details.ts";
import type { AccountStore } from "../budgets/accounts.ts";
import { Budgets } from "../budgets/budgets.ts";
import { bundleCompiler } from "../grants/bundles.ts";
import { KeyBindings } from "../grants/bindings.ts";
import { ProofVerifier, proofAlgorithms, proofWindowSeconds } from "../grants/dpop.ts";
import { TokenExchange } from "../grants/exchange.ts";
import { govern, type Governing } from "../grants/govern.ts";
import type { SigningKeys } from "../grants/keys.ts";
import { LiveGrants } from "../grants/live.ts";
import { serverNonces } from "../grants/nonces.ts";
import { refusalRecorder } from "../grants/refusals.ts";
import { ReplayCache } from "../grants/replay.ts";
import { RoleLeases, type RoleLeasesOptions } from "../leases/role-leases.ts";
import { Tokens } from "../tokens/tokens.ts";
import type { IdentityVerifier, PinStore, RequestStore, ResourceView } from "../resources.ts";
import { ToolPins } from "../connections/tool-pins.ts";
import type { ApiReader, EventSink } from "./audit.ts";
import { createContext, requestTimeoutMs } from "./context.ts";
import { ApiError } from "./errors.ts";
import { limitPerPeer } from "../../contract/per-peer.ts";
import type { PeopleAuthenticator } from "./people.ts";
import { budgetRoutes } from "./routes/budgets.ts";
import { decisionRoutes } from "./routes/decisions.ts";
import { eventRoutes } from "./routes/events.ts";
import { readRoutes } from "./routes/read.ts";
import { requestRoutes } from "./routes/requests.ts";
import { streamRoutes } from "./routes/stream.ts";
import { tokenRoutes } from "./routes/token.ts";
import { toolRoutes } from "./routes/tools.ts";
import { viewRoutes } from "./routes/view.ts";
import { StreamHub } from "./stream.ts";
import { ProxyViews } from "./views.ts";

/** Two connections a proxy (stream and calls) for 4,000 pods, and people; with TLS each takes some 78 KiB of the chart's 1 GiB. */
const maxConnections = 8_200;
/** Of one address, where addresses are the pods' own: a proxy opens at most ten. */
const maxPerPeer = 32;

/** Who opens a connection and does not speak TLS is gone before many of them add up. */
const handshakeTimeoutMs = 5_000;
/** A proxy calls at least this often; what is silent longer is gone. The stream is kept busy by its pings. */
const idleTimeoutMs = 75_000;

/** Answers in flight at shutdown get this long; streams end at once. */
const closeGraceMs = 3_000;

/** Expired requests, old grants and due key rotations are looked at this often. */
const housekeepingMs = 30_000;

/** 96 bits of a digest: enough to tell installations that share a database apart. */
const installationLength = 16;

/** Bodies of routes that say nothing else. */
const defaultBodyBytes = 64 * 1024;

export type Listen =
  | {
      readonly tls: { readonly cert: string; readonly key: string };
      readonly host: string;
      readonly port: number;
    }
  /** Local mode: readable by its owner alone. */
  | { readonly socketPath: string }
  /** Local mode: loopback only. */
  | { readonly loopbackPort: number };

export interface ApiOptions {
  readonly view: ResourceView;
  readonly requests: RequestStore;
  readonly pins: PinStore;
  readonly identity: IdentityVerifier;
  readonly keys: SigningKeys;
  readonly events: EventSink;
  readonly reader: ApiReader;
  /** Where the budgets of workloads stand. */
  readonly accounts: AccountStore;
  readonly people: PeopleAuthenticator;
  /** Appends to the operator's own audit stream; must not throw. */
  readonly record: (type: EventType, body: EventBody) => void;
  readonly logger: FastifyBaseLogger;
  readonly now: () => number;
  readonly listen: Listen;
  /** Peer addresses are the pods' own, not rewritten by the network: connections are bounded for each. */
  readonly peersAreOwn?: boolean;
  /** Origins under which proxies know this server, besides the address it listens on. */
  readonly origins?: readonly string[];
  /** Where a quarantine reaches every namespace; none in local mode. */
  readonly operatorNamespace?: string;
  readonly isLocal: boolean;
  readonly details?: DetailStore;
  readonly barred?: (request: AccessRequest, signal: AbortSignal) => Promise<readonly Barred[]>;
  readonly streamsOf?: (subject: EventSubject) => readonly string[];
  /** How the databases of `credential.postgresRole` and the servers of `credential.oauth2` are reached, and whose roles may be dropped. */
  readonly databases?: Partial<Pick<RoleLeasesOptions, "access" | "podExists">>;
}

/** The API and what it keeps; `close` ends streams first. */
export interface Api {
  /** `https://host:port`, `http://127.0.0.1:port`, or `http://localhost` behind a socket. */
  readonly origin: string;
  readonly live: LiveGrants;
  readonly leases: RoleLeases;
  readonly tokens: Tokens;
  readonly views: ProxyViews;
  readonly hub: StreamHub;
  readonly approvals: Approvals;
  /** The pod is deleted: grants, key, stream and view go. */
  forgetPod(podUid: string): void;
  /** A renewed serving certificate, for new connections. */
  replaceCertificate(tls: { readonly cert: string; readonly key: string }): void;
  close(): Promise<void>;
}

/** Builds everything and listens. */
export async function startApi(options: ApiOptions): Promise<Api> {
  const { view, now, keys, record, requests } = options;
  const origins = [
    ...(options.origins ?? []),
    ...("socketPath" in options.listen ? ["http://localhost"] : []),
  ];
  const governing: Governing = {
    view,
    compile: bundleCompiler(),
    now,
    maskKey: (namespace) => keys.derive(`mask/${namespace}`).toString("base64url"),
    operatorNamespace: options.operatorNamespace,
  };
  const live = new LiveGrants(now);
  const views = new ProxyViews(now);
  const hub = new StreamHub({
    governing,
    requests,
    live,
    record,
    onProblem: (err) => options.logger.error({ event: "change-not-told", err }),
  });
  const leases = new RoleLeases({
    governing,
    installation: keys.derive("installation").toString("base64url").slice(0, installationLength),
    access: { resolve: everyAddress },
    ...options.databases,
    dropsAtClose: options.isLocal,
    random: Math.random,
    onProblem: (what, connection, error) =>
      options.logger.warn({
        event: what,
        connection,
        error: error instanceof Error ? error.message : String(error),
      }),
    onNotes: (connection, notes) =>
      options.logger.warn({ event: "privileges-not-as-permitted", connection, notes }),
  });
  const tokens = new Tokens({
    access: options.databases?.access ?? { resolve: everyAddress },
    now,
  });
  const bindings = new KeyBindings(now);
  const proofs = new ProofVerifier({
    nonces: serverNonces(keys.derive("nonce"), now),
    now,
    origins: () => origins,
  });
  const replay = new ReplayCache(2 * proofWindowSeconds * 1000, now);
  const exchange = new TokenExchange({
    ...governing,
    keys,
    identity: options.identity,
    proofs,
    replay,
    bindings,
    live,
    leases,
    tokens,
    record,
    onRefused: refusalRecorder(record, now),
    onRebound: (podUid) => {
      hub.forgetPod(podUid);
      leases.end(podUid);
    },
    onIssued: (pod, connection, bundle) => hub.issued(pod, connection, bundle),
  });
  const approvals = new Approvals({
    view,
    store: requests,
    details: options.details ?? memoryDetails(),
    now,
    record,
    isLocal: options.isLocal,
    ...(options.barred === undefined ? {} : { barred: options.barred }),
    withoutStanding(requester, connection) {
      const governed = govern(governing, requester, requester, connection);
      return "refused" in governed ? governed.refused : undefined;
    },
  });
  const budgets = new Budgets(options.accounts, now);
  const context = createContext({
    governing,
    budgets,
    authentication: {
      keys,
      proofs,
      replay,
      bindings,
      isGone: (podUid) => exchange.isGone(podUid),
      now,
    },
    exchange,
    approvals,
    requests,
    hub,
    views,
    events: options.events,
    reader: options.reader,
    people: options.people,
    streamsOf:
      options.streamsOf ??
      (({ namespace, pod, podUid }) => [
        `${namespace}/${pod}/${podUid}`,
        ...(options.isLocal ? [`local/${podUid}`] : []),
      ]),
    now,
  });

  const app = createApp(options.listen, options.logger, options.peersAreOwn === true);
  app.addHook("onRequest", async (request, reply) => {
    void reply.header("dpop-nonce", context.authentication.proofs.nonce());
    // No page in a browser has business here; a local port would otherwise be a target for every site that is open.
    if (request.headers.origin !== undefined || request.headers["sec-fetch-site"] !== undefined) {
      throw new ApiError(
        403,
        "access_denied",
        "BrowserRefused",
        "this API does not answer browsers",
      );
    }
  });
  tokenRoutes(app, context);
  streamRoutes(app, context);
  eventRoutes(app, context);
  requestRoutes(app, context);
  viewRoutes(app, context);
  toolRoutes(app, context, {
    pins: new ToolPins({ store: options.pins, record, isLocal: options.isLocal }),
    refusal: (requester, connection) => {
      const governed = govern(governing, requester, requester, connection);
      return "refused" in governed ? governed.refused : undefined;
    },
  });
  budgetRoutes(app, context);
  readRoutes(app, context, record);
  decisionRoutes(app, context);

  const closing = new AbortController();
  const logFailure = (event: string) => (err: unknown) => {
    if (!closing.signal.aborted) options.logger.error({ event, err });
  };
  const unsubscribe = requests.onChange(
    (request) => void approvals.settle(request, closing.signal).catch(logFailure("settle-failed")),
  );
  const housekeeping = setInterval(() => {
    live.sweep();
    approvals.expire(closing.signal).catch(logFailure("expire-failed"));
    keys.maintain(closing.signal).catch(logFailure("key-rotation-failed"));
  }, housekeepingMs);
  housekeeping.unref();

  const origin = await listenOn(app, options.listen);
  origins.push(origin);
  void leases.sweep();
  return {
    origin,
    live,
    leases,
    tokens,
    views,
    hub,
    approvals,
    forgetPod(podUid) {
      exchange.forgetPod(podUid);
      leases.end(podUid);
      hub.forgetPod(podUid);
      views.forgetPod(podUid);
    },
    replaceCertificate({ cert, key }) {
      const { server } = app;
      if ("setSecureContext" in server && typeof server.setSecureContext === "function")
        server.setSecureContext({ cert, key, minVersion: "TLSv1.3" });
    },
    async close() {
      closing.abort(new Error("the operator is shutting down"));
      clearInterval(housekeeping);
      unsubscribe();
      await hub.close();
      const force = setTimeout(() => app.server.closeAllConnections(), closeGraceMs);
      await app.close().finally(() => clearTimeout(force));
      await Promise.all([leases.close(), budgets.close()]);
    },
  };
}

async function everyAddress(host: string): Promise<readonly string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}

function createApp(
  listen: Listen,
  logger: FastifyBaseLogger,
  peersAreOwn: boolean,
): FastifyInstance {
  const common = {
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: defaultBodyBytes,
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: idleTimeoutMs,
    connectionTimeout: idleTimeoutMs,
    forceCloseConnections: "idle" as const,
    // `ns/name` of an access request, with its slash escaped.
    routerOptions: { maxParamLength: 400 },
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, useDefaults: false } },
  };
  const app: FastifyInstance =
    "tls" in listen
      ? fastify({
          ...common,
          https: { ...listen.tls, minVersion: "TLSv1.3", handshakeTimeout: handshakeTimeoutMs },
        })
      : fastify(common);
  app.server.maxConnections = maxConnections;
  if (peersAreOwn) limitPerPeer(app.server, maxPerPeer);
  app.setErrorHandler<FastifyError | ApiError>((error, request, reply) => {
    const known = asApiError(error);
    if (known.status >= 500)
      request.log.error({ event: "request-failed", path: request.url.split("?")[0], err: error });
    if (known.scheme !== undefined) {
      void reply.header(
        "www-authenticate",
        `DPoP error="${known.error}", error_description="${known.message.replace(/["\\]/g, "'")}", algs="${proofAlgorithms.join(" ")}"`,
      );
    }
    return reply.code(known.status).send(known.body());
  });
  app.setNotFoundHandler((request, reply) => {
    const body = {
      error: "not_found",
      error_description: `there is no ${request.method} ${request.url.split("?")[0] ?? ""}`,
      reason: "RouteNotFound",
    };
    return reply.code(404).send(body);
  });
  return app;
}

/** What Fastify and everybody else throws, in our shape; what is unexpected keeps its text to the log. */
function asApiError(error: FastifyError | ApiError): ApiError {
  if (error instanceof ApiError) return error;
  const { statusCode, code } = error;
  if (statusCode === 413)
    return new ApiError(
      413,
      "invalid_request",
      "TooLarge",
      "the body is larger than this route takes",
    );
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500)
    return new ApiError(statusCode, "invalid_request", code, error.message);
  if (error.name === "TimeoutError" || error.name === "AbortError")
    return new ApiError(
      503,
      "temporarily_unavailable",
      "Timeout",
      `not done within ${requestTimeoutMs} ms; try again`,
    );
  return new ApiError(
    500,
    "server_error",
    "InternalError",
    "the request failed inside the operator; see its log",
  );
}

async function listenOn(app: FastifyInstance, listen: Listen): Promise<string> {
  if ("socketPath" in listen) {
    const { socketPath } = listen;
    // The directory keeps others out also in the moment before the socket's own mode does.
    await mkdir(dirname(socketPath), { recursive: true, mode: 0o700 });
    if (await answers(socketPath))
      throw new Error(
        `${socketPath}: another chaperone is already serving this state directory; stop it, or use another --state`,
      );
    await rm(socketPath, { force: true });
    await app.listen({ path: socketPath });
    await chmod(socketPath, 0o600);
    return "http://localhost";
  }
  if ("loopbackPort" in listen)
    return await app.listen({ host: "127.0.0.1", port: listen.loopbackPort });
  return await app.listen({ host: listen.host, port: listen.port });
}

/** Whether somebody listens on the socket; a file left behind by a crash is nobody. */
function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(socketPath);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
