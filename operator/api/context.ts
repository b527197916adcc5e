// What every route shares: the parts it works with, and who is asking.
import type { Socket } from "node:net";
import type { FastifyReply, FastifyRequest, onRequestAsyncHookHandler } from "fastify";
import type { Approvals } from "../approvals/approvals.ts";
import type { Budgets } from "../budgets/budgets.ts";
import type { TokenExchange } from "../grants/exchange.ts";
import type { Governing } from "../grants/govern.ts";
import type { VerifiedGrant } from "../grants/token.ts";
import type { EventSubject } from "../../contract/event.ts";
import type { RequestStore } from "../resources.ts";
import type { ApiReader, EventSink } from "./audit.ts";
import { forbidden } from "./errors.ts";
import type { PeopleAction, PeopleAuthenticator, PeopleContext, Person } from "./people.ts";
import { authenticateProxy, type PresentedRequest, type ProxyAuthentication } from "./proxies.ts";
import type { StreamHub } from "./stream.ts";
import type { ProxyViews } from "./views.ts";

/** Everything but the long stream answers within this, or the caller has given up. */
export const requestTimeoutMs = 10_000;

export interface ApiParts {
  readonly authentication: ProxyAuthentication;
  readonly exchange: TokenExchange;
  readonly approvals: Approvals;
  readonly requests: RequestStore;
  readonly hub: StreamHub;
  readonly views: ProxyViews;
  readonly governing: Governing;
  readonly budgets: Budgets;
  readonly events: EventSink;
  readonly reader: ApiReader;
  readonly people: PeopleAuthenticator;
  /** Streams that this subject may write: the first is its own, and each may go on as `NAME.N`. */
  readonly streamsOf: (subject: EventSubject) => readonly string[];
  readonly now: () => number;
}

export interface ApiContext extends ApiParts {
  /** Hook: refuses whoever is not a proxy with a live pod grant, before the body is read. */
  readonly requireProxy: onRequestAsyncHookHandler;
  readonly grantOf: (request: FastifyRequest) => VerifiedGrant;
  /** Refuses people who may not. */
  readonly person: (request: FastifyRequest, action: PeopleAction) => Promise<Person>;
  /** Aborts when the caller is gone or the time is up. */
  readonly signalOf: (request: FastifyRequest) => AbortSignal;
}

export function createContext(parts: ApiParts): ApiContext {
  const grants = new WeakMap<FastifyRequest, VerifiedGrant>();
  const people = new WeakMap<FastifyRequest, Promise<Person>>();
  const signals = new WeakMap<FastifyRequest, AbortSignal>();
  // One listener a socket, not one a request: keep-alive sockets serve thousands.
  const goneSockets = new WeakMap<Socket, AbortSignal>();
  const goneOf = (socket: Socket): AbortSignal => {
    const known = goneSockets.get(socket);
    if (known !== undefined) return known;
    const gone = new AbortController();
    socket.once("close", () => gone.abort(new Error("the caller is gone")));
    goneSockets.set(socket, gone.signal);
    return gone.signal;
  };
  const signalOf = (request: FastifyRequest): AbortSignal => {
    const signal =
      signals.get(request) ??
      AbortSignal.any([goneOf(request.raw.socket), AbortSignal.timeout(requestTimeoutMs)]);
    signals.set(request, signal);
    return signal;
  };
  return {
    ...parts,
    signalOf,
    async requireProxy(request) {
      grants.set(
        request,
        await authenticateProxy(parts.authentication, presented(request), signalOf(request)),
      );
    },
    grantOf(request) {
      const grant = grants.get(request);
      if (grant === undefined) throw new Error(`${request.url} is served without requireProxy`);
      return grant;
    },
    async person(request, action) {
      const { proofs, replay } = parts.authentication;
      const context: PeopleContext = { proofs, replay, signal: signalOf(request) };
      // Once a request: its proof can be used once.
      const asking =
        people.get(request) ??
        parts.people.authenticate(
          { ...presented(request), peerAddress: peerAddress(request) },
          context,
        );
      people.set(request, asking);
      const person = await asking;
      if (await parts.people.authorize(person, action, context.signal)) return person;
      const where =
        action.namespace === undefined ? "in every namespace" : `in namespace ${action.namespace}`;
      throw forbidden(
        "NotAuthorized",
        `${person.username} may not ${action.verb} ${action.resource}.chaperone.dev ${where}; ask for a role that grants it`,
      );
    },
  };
}

export function presented(request: FastifyRequest): PresentedRequest {
  return {
    method: request.method,
    path: pathOf(request),
    authorization: request.headers.authorization,
    proof: request.headers["dpop"],
  };
}

/** Without query: what `htu` names. */
export function pathOf(request: FastifyRequest): string {
  return request.url.split("?", 1)[0] ?? "";
}

/** The peer as the kernel knows it; IPv4 without its IPv6 dress. `unix` for a local socket. */
export function peerAddress(request: FastifyRequest): string {
  return request.raw.socket.remoteAddress?.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/, "") ?? "unix";
}

/** RFC 6749 section 5.1: nothing that holds a token or a secret is kept by a cache. */
export function noStore(reply: FastifyReply): FastifyReply {
  return reply.header("cache-control", "no-store");
}
