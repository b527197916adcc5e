// The story of one HTTP request: recognise -> decide -> (hold) -> forward -> record. The neighbours know how; this file knows the order.
import type { AwsLease } from "../../contract/control.ts";
import { providers } from "../../policy/llm/providers.ts";
import type { DetectMask } from "../../policy/bundle.ts";
import type { ConnectionId } from "../../policy/operation.ts";
import { otherPathProblem } from "../../policy/http/recognise.ts";
import { answerBudget } from "../budget/answer-budget.ts";
import { ProxyError } from "../errors.ts";
import type { Gate, GateSession, LiveGrant, Passage } from "../pipeline.ts";
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
import type { AnswerMask } from "./mask-answer.ts";
import type { AskMcp } from "./mcp/ask.ts";
import { liesUnder, readHead } from "./head.ts";
import type { RequestHead } from "./head.ts";
import { answerRules } from "./headers.ts";
import type { AnswerForm } from "./headers.ts";
import { depart, findings, hangsOnMarks, noMasks } from "./marks.ts";
import { withTrailers } from "./trailers.ts";
import type { Restoring } from "./restoring-answer.ts";
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

/** Whatever goes wrong is said to the agent and recorded. What is there already is not waited for: most requests are sent within this call. */
export function forward(exchange: Exchange, context: ForwardContext): void {
  let gate: Gate | undefined;
  try {
    if (exchange.request.method === "CONNECT") {
      openTunnel(exchange).catch((error: unknown) => failed(error, exchange, context));
      return;
    }
    const { read, offer } = readTrusted(exchange);
    gate = gateFor(exchange, read);
    new Forwarding(exchange, context, gate, read, offer).start();
  } catch (error) {
    failed(error, exchange, context, gate);
  }
}

/** A request as it is decided on. */
interface Decided {
  readonly head: RequestHead;
  readonly asked: Asked;
  /** The request masks of the rules that it was read under, and those of them that apply to it. */
  readonly requestMasks: readonly DetectMask[];
  readonly masks: readonly DetectMask[];
}

/** What may go out, and under which grant. */
interface Allowed {
  readonly decided: Decided;
  readonly passage: Granted;
  readonly live: LiveGrant;
}

type Body = Buffer | BodyStream | null;
type Offer = ReturnType<typeof readOffer>;
type Step = Promise<void> | undefined;

/** One request on its way, step by step; each hands on to the next, later where something has to be waited for. */
class Forwarding {
  readonly #exchange: Exchange;
  readonly #context: ForwardContext;
  readonly #gate: Gate;
  readonly #session: GateSession;
  readonly #read: RequestHead;
  readonly #offer: Offer | undefined;
  #granted: Granted | undefined;

  /** Throws ProxyError where the session is over. */
  constructor(
    exchange: Exchange,
    context: ForwardContext,
    gate: Gate,
    read: RequestHead,
    offer: Offer | undefined,
  ) {
    const { protocol, namespace, name } = gate.connection;
    exchange.protocol = protocol;
    exchange.connection = `${namespace}/${name}`;
    this.#exchange = exchange;
    this.#context = context;
    this.#gate = gate;
    this.#session = exchange.client.session(gate, read.chain);
    this.#read = read;
    this.#offer = offer;
  }

  start(): void {
    try {
      const live = this.#gate.current();
      const going =
        live === undefined
          ? this.#gate.grant(this.#exchange.signal).then((granted) => this.#ask(granted))
          : this.#ask(live);
      going?.catch((error: unknown) => this.#failed(error));
    } catch (error) {
      this.#failed(error);
    }
  }

  #ask(live: LiveGrant): Step {
    const head = decidedHead(this.#read, live.lease);
    requireBasePath(head, live);
    const requestMasks = live.bundle.requestMasks ?? noMasks;
    const masks = this.#session.masksNow(requestMasks);
    const asking = this.#asking(head, live, masks);
    return asking instanceof Promise
      ? asking.then((asked) => this.#pass({ head, asked, requestMasks, masks }))
      : this.#pass({ head, asked: asking, requestMasks, masks });
  }

  #asking(
    head: RequestHead,
    live: LiveGrant,
    masks: readonly DetectMask[],
  ): Asked | Promise<Asked> {
    const { protocol } = this.#gate.connection;
    const exchange = this.#exchange;
    const session = this.#session;
    if (this.#offer !== undefined) return askWebSocket(protocol, head, live, masks, session.vault);
    switch (protocol) {
      case "http":
        return askHttp(exchange, head, live, masks, session);
      case "mcp":
        return this.#context.mcp({ exchange, head, live, gate: this.#gate, session, masks });
      case "postgres":
        throw new ProxyError("ConnectionUnknown", "this Connection speaks PostgreSQL, not HTTP");
      case "passthrough":
        throw new ProxyError("ConnectionUnknown", "the TLS of this Connection is not opened");
      default:
        return askLlm(providers[protocol], exchange, head, live, masks, session);
    }
  }

  #pass(decided: Decided): Step {
    const { asked } = decided;
    const passing = this.#session.pass(asked.operation, new AskedOfGate(this.#exchange, asked));
    return passing instanceof Promise
      ? passing.then((passage) => this.#passed(decided, passage))
      : this.#passed(decided, passing);
  }

  #passed(decided: Decided, passage: Passage): Step {
    if (!passage.go) {
      this.#exchange.refuse(passage.error, passage.decision);
      return undefined;
    }
    this.#granted = passage;
    const { asked, masks } = decided;
    if (asked.provider !== undefined && asked.masked !== undefined)
      findings(masks, this.#session, asked.operation)?.(asked.masked);
    // A hold can last longer than a grant: endpoint and lease are those of now.
    const live = this.#gate.current();
    return live === undefined
      ? this.#gate
          .grant(this.#exchange.signal)
          .then((granted) => this.#leave({ decided, passage, live: granted }))
      : this.#leave({ decided, passage, live });
  }

  #leave(allowed: Allowed): Step {
    if (this.#offer !== undefined) return this.#open(this.#offer, allowed);
    const { decided, passage } = allowed;
    const reading = decided.asked.body(passage.decision);
    return reading instanceof Promise
      ? reading.then((body) => this.#sign(allowed, body))
      : this.#sign(allowed, reading);
  }

  #open(offer: Offer, { decided, passage, live }: Allowed): Promise<void> {
    const { head, asked } = decided;
    const { operation, sentHeaders } = asked;
    const session = this.#session;
    if (session.ended.aborted) throw session.ended.reason;
    const { upstreams, webSockets } = this.#context;
    return webSockets.open({
      exchange: this.#exchange,
      gate: this.#gate,
      session,
      operation,
      passage,
      head,
      ...(sentHeaders !== undefined && { sentHeaders }),
      offer,
      live,
      upstreams,
    });
  }

  #sign(allowed: Allowed, body: Body): Step {
    const { decided, live } = allowed;
    const { head, asked } = decided;
    const { lease } = live;
    const upstream = this.#context.upstreams.for(this.#gate, live.endpoint);
    const mask =
      asked.guard === undefined
        ? answerMask(this.#session, live.bundle, asked, head.method)
        : undefined;
    const restoring = restoringOf(this.#session, asked.provider, head.method);
    const sentHead = asked.head ?? head;
    const form = formOf(asked, mask, restoring);
    const headers = this.#exchange.client.sentHeaders.of(sentHead, live, form);
    const leaving = {
      method: head.method,
      // Of a head whose target is another, too: the older transport of MCP has a place of its own for messages.
      path: sentTarget(sentHead, lease),
      headers: asked.sentHeaders?.(headers) ?? headers,
      body,
      length: body instanceof BodyStream ? body.length : undefined,
    };
    // Elsewhere a body is read whole and what stands in it decided on, with nothing to be said behind it.
    const plain =
      body !== null && this.#gate.connection.protocol === "http"
        ? withTrailers(leaving, this.#exchange.request, {
            head,
            grant: live,
            masked: asked.sentHeaders,
          })
        : leaving;
    const guards = { mask, restoring };
    if (lease.kind !== "awsSigV4") return this.#send(allowed, upstream, plain, guards);
    return signed(plain, lease, upstream).then((sent) =>
      this.#send(allowed, upstream, sent, guards),
    );
  }

  #send(
    { decided, passage, live }: Allowed,
    upstream: Upstream,
    sent: Sendable,
    { mask, restoring }: Guards,
  ): undefined {
    const exchange = this.#exchange;
    const session = this.#session;
    if (session.ended.aborted) throw session.ended.reason;
    const { head, asked, requestMasks, masks } = decided;
    const { operation } = asked;
    if (hangsOnMarks(live, requestMasks))
      depart({ exchange, session, operation, passage, requestMasks, masks }, sent.body);
    exchange.send(upstream, passage, {
      request: sent,
      observer: asked.observer(),
      mask: asked.guard?.(upstream, sent) ?? mask,
      budget: answerBudget(passage, asked),
      decodes: mask !== undefined || restoring !== undefined || asked.provider !== undefined,
      masked: asked.masked,
      restoring,
      answer: answerRules(live),
      limits: asked.limits ?? live.bundle.limits,
      retries: retriesFor(
        { method: head.method, wasHeld: passage.decision.verdict === "hold" },
        live.endpoint.retries,
      ),
    });
    return undefined;
  }

  #failed(error: unknown): void {
    failed(error, this.#exchange, this.#context, this.#gate, this.#granted);
  }
}

/** What looks at the answer. */
interface Guards {
  readonly mask: AnswerMask | undefined;
  readonly restoring: Restoring | undefined;
}

/** How the upstream is asked to answer. */
function formOf(
  asked: Asked,
  mask: AnswerMask | undefined,
  restoring: Restoring | undefined,
): AnswerForm {
  if (asked.guard !== undefined || mask !== undefined) return "whole";
  return restoring === undefined ? asked.form : "readable";
}

function failed(
  error: unknown,
  exchange: Exchange,
  context: ForwardContext,
  gate?: Gate,
  granted?: Granted,
): void {
  const known = asProxyError(error, context.onUnexpected);
  const isGone = error instanceof ClientGone;
  // Whatever fails for an agent that has left fails because it has.
  if (granted !== undefined)
    granted.done({ status: "error", error: isGone || exchange.isGone ? "ClientGone" : known.code });
  else if (!isGone) context.onRefused(known, gate?.connection);
  exchange.refuse(known);
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
function readTrusted({ request, client }: Exchange): {
  readonly read: RequestHead;
  readonly offer: Offer | undefined;
} {
  try {
    const { method, target, headers, authority } = request;
    const read = readHead(method, target, headers, authority, client.fields.read);
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
  const beyond = basePath === "" ? undefined : otherPathProblem(head.all);
  if (beyond !== undefined)
    throw new ProxyError(
      "ConnectionUnknown",
      `${beyond}; this Connection reaches ${basePath} alone`,
    );
  if (liesUnder(head.path, basePath)) return;
  throw new ProxyError(
    "ConnectionUnknown",
    `the path ${head.path} does not lie under ${basePath}, which is all that this Connection reaches`,
  );
}

function asProxyError(error: unknown, onUnexpected: (error: unknown) => void): ProxyError {
  if (error instanceof ProxyError) return error;
  if (error instanceof ClientGone)
    return new ProxyError("ShuttingDown", error.message, { cause: error });
  onUnexpected(error);
  return new ProxyError("UpstreamProtocol", "the request could not be handled", { cause: error });
}
