// The story of one HTTP request: recognise -> decide -> (hold) -> forward -> record. The neighbours know how; this file knows the order.
import type { AwsLease } from "../../contract/control.ts";
import { providers } from "../../policy/llm/providers.ts";
import type { ConnectionId, Protocol } from "../../policy/operation.ts";
import { answerBudget } from "../budget/answer-budget.ts";
import { ProxyError } from "../errors.ts";
import type { Gate, LiveGrant } from "../pipeline.ts";
import { askHttp } from "./ask-http.ts";
import { askLlm } from "./ask-llm.ts";
import { AskedOfGate } from "./asked.ts";
import type { Asked } from "./asked.ts";
import { BodyStream, ClientGone } from "./body.ts";
import type { Exchange, Granted } from "./exchange.ts";
import type { Sendable } from "./credential/sign-request.ts";
import { decidedHead, sentTarget } from "./credential/target.ts";
import { checkGuard } from "./guard.ts";
import { answerMask, restoringOf } from "./mask-answer.ts";
import type { AskMcp, McpAsking } from "./mcp/ask.ts";
import { liesUnder, readHead } from "./head.ts";
import type { RequestHead } from "./head.ts";
import { answerRules, upstreamHeaders } from "./headers.ts";
import { depart, findings, noMasks } from "./marks.ts";
import { withTrailers } from "./trailers.ts";
import { retriesFor } from "./retries.ts";
import { authorityOf } from "./upstreams.ts";
import type { Upstream, Upstreams } from "./upstreams.ts";
import { askWebSocket } from "./websocket/ask.ts";
import { readOffer } from "./websocket/handshake.ts";
import type { WebSockets } from "./websocket/websockets.ts";

export interface ForwardContext {
  readonly upstreams: Upstreams;
  readonly webSockets: WebSockets;
  readonly mcp: AskMcp;
  readonly onUnexpected: (error: unknown) => void;
  /** Refused before there was an operation to decide, so that no decision records it. */
  readonly onRefused: (error: ProxyError, connection?: ConnectionId) => void;
}

/** Never rejects: whatever goes wrong is said to the agent and recorded. */
export async function forward(exchange: Exchange, context: ForwardContext): Promise<void> {
  const { client, request } = exchange;
  let connection: ConnectionId | undefined;
  let granted: Granted | undefined;
  try {
    if (request.method === "CONNECT") {
      await openTunnel(exchange);
      return;
    }
    const { read, offer } = readTrusted(exchange);
    const gate = gateFor(exchange, read);
    connection = gate.connection;
    exchange.protocol = connection.protocol;
    exchange.connection = `${connection.namespace}/${connection.name}`;
    const session = client.session(gate, read.chain);
    const live = gate.current() ?? (await gate.grant(exchange.signal));
    const head = decidedHead(read, live.lease);
    requireBasePath(head, live);
    const requestMasks = live.bundle.requestMasks ?? noMasks;
    const masks = session.masksNow(requestMasks);
    const asking =
      offer === undefined
        ? ask(connection.protocol, { exchange, head, live, gate, session, context, masks })
        : askWebSocket(connection.protocol, head, live, masks, session.vault);
    const asked = asking instanceof Promise ? await asking : asking;
    const passing = session.pass(asked.operation, new AskedOfGate(exchange, asked));
    const passage = passing instanceof Promise ? await passing : passing;
    if (!passage.go) {
      exchange.refuse(passage.error, passage.decision);
      return;
    }
    granted = passage;
    if (asked.provider !== undefined && asked.masked !== undefined)
      findings(masks, session, asked.operation)?.(asked.masked);
    // A hold can last longer than a grant: endpoint and lease are those of now.
    const now = gate.current() ?? (await gate.grant(exchange.signal));
    if (offer !== undefined) {
      if (session.ended.aborted) throw session.ended.reason;
      await context.webSockets.open({
        exchange,
        gate,
        session,
        operation: asked.operation,
        passage,
        head,
        ...(asked.sentHeaders !== undefined && { sentHeaders: asked.sentHeaders }),
        offer,
        live: now,
        upstreams: context.upstreams,
      });
      return;
    }
    const reading = asked.body(passage.decision);
    const body = reading instanceof Promise ? await reading : reading;
    const upstream = context.upstreams.for(gate, now.endpoint);
    const mask =
      asked.guard === undefined ? answerMask(session, now.bundle, asked, head.method) : undefined;
    const isGuarded = asked.guard !== undefined || mask !== undefined;
    const restoring = restoringOf(session, asked.provider, head.method);
    const readable = restoring === undefined ? asked.form : "readable";
    const sentHead = asked.head ?? head;
    const headers = upstreamHeaders(sentHead, now, isGuarded ? "whole" : readable);
    const leaving = {
      method: head.method,
      // Of a head whose target is another, too: the older transport of MCP has a place of its own for messages.
      path: sentTarget(sentHead, now.lease),
      headers: asked.sentHeaders?.(headers) ?? headers,
      body,
      length: body instanceof BodyStream ? body.length : undefined,
    };
    // Elsewhere a body is read whole and what stands in it decided on, with nothing to be said behind it.
    const plain =
      connection.protocol === "http"
        ? withTrailers(leaving, request, { head, grant: now, masked: asked.sentHeaders })
        : leaving;
    const { lease } = now;
    const sent = lease.kind === "awsSigV4" ? await signed(plain, lease, upstream) : plain;
    if (session.ended.aborted) throw session.ended.reason;
    const { operation } = asked;
    depart({ exchange, session, operation, passage, live: now, requestMasks, masks }, sent.body);
    exchange.send(upstream, passage, {
      ...sent,
      observer: asked.observer(),
      mask: asked.guard?.(upstream, sent) ?? mask,
      budget: answerBudget(passage, asked),
      decodes: mask !== undefined || restoring !== undefined || asked.provider !== undefined,
      masked: asked.masked,
      restoring,
      answer: answerRules(now),
      limits: asked.limits ?? now.bundle.limits,
      retries: retriesFor(
        { method: head.method, wasHeld: passage.decision.verdict === "hold" },
        now.endpoint.retries,
      ),
    });
  } catch (error) {
    const known = asProxyError(error, context.onUnexpected);
    const isGone = error instanceof ClientGone;
    if (granted !== undefined)
      granted.done({ status: "error", error: isGone ? error.name : known.code });
    else if (!isGone) context.onRefused(known, connection);
    exchange.refuse(known);
  }
}

/** Loaded with the first request that needs it: few Connections are AWS's. */
async function signed(
  plain: Sendable,
  lease: AwsLease,
  { endpoint }: Upstream,
): Promise<Sendable & { readonly headers: string[] }> {
  const { signRequest } = await import("./credential/sign-request.ts");
  return signRequest(plain, {
    lease,
    authority: authorityOf(endpoint),
    now: Date.now(),
  });
}

/** What is wrong with a head may be where it ends: behind a refused one nothing is read any more. */
function readTrusted({ request }: Exchange): {
  readonly read: RequestHead;
  readonly offer: ReturnType<typeof readOffer> | undefined;
} {
  try {
    const read = readHead(request.method, request.target, request.headers, request.authority);
    const offer =
      read.upgrade === undefined ? undefined : readOffer(read, request.scheme === undefined);
    return { read, offer };
  } catch (error) {
    request.distrust?.();
    throw error;
  }
}

/** What is asked inside it is decided like any other request; which host it leads to is decided here. */
async function openTunnel(exchange: Exchange): Promise<void> {
  const { route } = exchange.client;
  if (route.connect === undefined)
    throw new ProxyError(
      "NotSupported",
      "CONNECT is not served here: send requests to the address of a Connection",
    );
  const { target, headers } = exchange.request;
  const opened = await route.connect(target, headers, exchange.signal);
  if ("take" in opened) opened.take(exchange.handOver(200, []));
  else exchange.refuse(opened.error, opened.decision);
}

function gateFor(exchange: Exchange, head: RequestHead): Gate {
  const { servername } = exchange.client;
  const route = exchange.client.route.named?.(head.host, head.port ?? 80) ?? exchange.client.route;
  const { scheme = head.scheme ?? route.scheme } = exchange.request;
  if (scheme !== route.scheme)
    throw new ProxyError("MalformedRequest", `the scheme of the request is not ${route.scheme}`);
  if (route.guard !== undefined) checkGuard(route.guard, head);
  // The name in the TLS handshake chose the certificate; a request for another name inside is not for this listener.
  const gate =
    servername === undefined || servername === head.host
      ? route.select(head.host, head.path, head.port)
      : undefined;
  if (gate !== undefined) return gate;
  throw new ProxyError(
    "ConnectionUnknown",
    `no Connection of this pod serves ${head.host}${head.path} here; hosts and endpoint paths are named in its Connection`,
  );
}

function requireBasePath(head: RequestHead, live: LiveGrant): void {
  const { basePath } = live.endpoint;
  if (liesUnder(head.path, basePath)) return;
  throw new ProxyError(
    "ConnectionUnknown",
    `the path ${head.path} does not lie under ${basePath}, which is all that this Connection reaches`,
  );
}

function ask(
  protocol: Protocol,
  asking: McpAsking & { readonly context: ForwardContext },
): Asked | Promise<Asked> {
  const { exchange, head, live, session, masks } = asking;
  switch (protocol) {
    case "http":
      return askHttp(exchange, head, live, {
        masks,
        vault: session.vault,
        see: (operation) => findings(masks, session, operation),
      });
    case "mcp":
      return asking.context.mcp(asking);
    case "postgres":
      throw new ProxyError("ConnectionUnknown", "this Connection speaks PostgreSQL, not HTTP");
    case "passthrough":
      throw new ProxyError("ConnectionUnknown", "the TLS of this Connection is not opened");
    default:
      return askLlm(providers[protocol], exchange, head, live, masks, session);
  }
}

function asProxyError(error: unknown, onUnexpected: (error: unknown) => void): ProxyError {
  if (error instanceof ProxyError) return error;
  if (error instanceof ClientGone)
    return new ProxyError("ShuttingDown", error.message, { cause: error });
  onUnexpected(error);
  return new ProxyError("UpstreamProtocol", "the request could not be handled", { cause: error });
}
