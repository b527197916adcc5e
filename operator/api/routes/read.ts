// GET /v1/read/*: what people look at. Reading recordings is RBAC of its own, and an event.
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { EventBody, EventType } from "../../../contract/event.ts";
import type { AccessRequest } from "../../../crds/types.gen.ts";
import { stateOf } from "../../approvals/state.ts";
import type { EventQuery } from "../../audit/queries.ts";
import type { ApiContext } from "../context.ts";
import { badRequest, notFound } from "../errors.ts";
import type { PeopleAction, Person } from "../people.ts";

export const defaultPage = 200;
/** A page of large bodies stays under what a terminal or a script takes at once. */
export const maxPage = 1_000;

/** Query parameters that narrow a list of events; each is a text. */
const filters = [
  "namespace",
  "session",
  "verdict",
  "type",
  "connection",
  "subject",
  "chain",
  "policy",
  "rule",
  "text",
];

type Query = Readonly<Record<string, string | undefined>>;

export function readRoutes(
  app: FastifyInstance,
  context: ApiContext,
  record: (type: EventType, body: EventBody) => void,
): void {
  const { reader, requests, views, approvals, signalOf, now } = context;
  const may = (request: FastifyRequest, action: PeopleAction): Promise<Person> =>
    context.person(request, action);
  const recordRead = (person: Person, what: string, session?: string): void => {
    const by = { by: person.username };
    record("operation", {
      ...(session === undefined ? {} : { session }),
      operation: { kind: "read", summary: `${person.username} read ${what}`, facts: by },
    });
  };

  const withDetail = (request: AccessRequest): Record<string, unknown> => {
    const detail = approvals.detail(request.metadata.namespace, request.metadata.name);
    return { ...requestRow(request, now()), ...(detail === undefined ? {} : { detail }) };
  };

  app.get<{ Querystring: Query }>("/v1/read/events", async (request) => {
    const query = eventQuery(request.query);
    const person = await may(request, {
      verb: "list",
      resource: "events",
      namespace: query.namespace,
    });
    const page = await reader.events(query, signalOf(request));
    // Following asks every second; only what was really seen is worth an event, and the trail of reading itself is not.
    if (page.events.some(({ body }) => body.operation?.kind !== "read"))
      recordRead(person, `${page.events.length} audit events`, query.session);
    return page;
  });

  app.get<{ Querystring: Query }>("/v1/read/sessions", async (request) => {
    const { namespace } = request.query;
    await may(request, { verb: "list", resource: "sessions", namespace });
    return {
      sessions: await reader.sessions(
        { limit: limitOf(request.query), ...(namespace === undefined ? {} : { namespace }) },
        signalOf(request),
      ),
    };
  });

  const sessionOf = async (request: FastifyRequest, id: string, verb: "get" | "list") => {
    const found = await reader.session(id, signalOf(request));
    // Asked also when there is none, so that nobody learns by the answer which sessions exist.
    const person = await may(request, {
      verb,
      resource: "sessions",
      namespace: found?.namespace,
      name: id,
    });
    if (found === undefined) throw notFound("SessionNotFound", `there is no session ${id}`);
    return { found, person };
  };

  app.get<{ Params: { id: string } }>(
    "/v1/read/sessions/:id",
    async (request) => (await sessionOf(request, request.params.id, "get")).found,
  );

  app.get<{ Params: { id: string }; Querystring: Query }>(
    "/v1/read/sessions/:id/replay",
    async (request) => {
      const { found, person } = await sessionOf(request, request.params.id, "get");
      const recording = await reader.recording(
        found.id,
        request.query["whole"] === "true",
        signalOf(request),
      );
      recordRead(person, `the recording of session ${found.id}`, found.id);
      return recording;
    },
  );

  app.get<{ Querystring: Query }>("/v1/read/verify", async (request) => {
    await may(request, { verb: "get", resource: "events", namespace: undefined });
    return { streams: await reader.verify(request.query["stream"], signalOf(request)) };
  });

  app.get<{ Querystring: Query }>("/v1/read/requests", async (request) => {
    const { namespace } = request.query;
    const person = await may(request, { verb: "list", resource: "accessrequests", namespace });
    const found = await requests.list(namespace, signalOf(request));
    const rows = found.map((one) => withDetail(one));
    const shown = rows.filter((row) => "detail" in row).length;
    if (shown > 0) recordRead(person, `the parameters of ${shown} access requests`);
    return { requests: rows };
  });

  app.get<{ Params: { namespace: string; name: string } }>(
    "/v1/read/requests/:namespace/:name",
    async (request) => {
      const { namespace, name } = request.params;
      const person = await may(request, {
        verb: "get",
        resource: "accessrequests",
        namespace,
        name,
      });
      const found = await requests.get(namespace, name, signalOf(request));
      if (found === undefined)
        throw notFound("RequestNotFound", `there is no access request ${namespace}/${name}`);
      const row = withDetail(found);
      if ("detail" in row)
        recordRead(
          person,
          `the parameters of access request ${namespace}/${name}`,
          found.spec.session,
        );
      return row;
    },
  );

  app.get("/v1/read/proxies", async (request) => {
    await may(request, { verb: "list", resource: "proxies", namespace: undefined });
    const at = now();
    return {
      proxies: views
        .list()
        .map(({ pod, view, receivedAt }) => ({ ...pod, ...view, ageMs: at - receivedAt })),
    };
  });
}

export function requestRow(request: AccessRequest, now: number): Record<string, unknown> {
  const { requester, summary, session, openedAt, expiresAt, kind, policies } = request.spec;
  return {
    ...stateOf(request, request.metadata.namespace, now),
    namespace: request.metadata.namespace,
    requester: `${requester.namespace}/${requester.serviceAccount}`,
    pod: requester.pod,
    ...(requester.chain === undefined ? {} : { chain: requester.chain }),
    kind,
    summary,
    session,
    openedAt,
    expiresAt,
    policies,
    decisions: request.status?.decisions ?? [],
  };
}

function eventQuery(query: Query): EventQuery {
  const after = query["after"];
  if (after !== undefined && !/^\d{1,15}$/.test(after))
    throw badRequest("QueryInvalid", "after is the cursor of an earlier answer, a number");
  const texts = Object.fromEntries(
    filters.flatMap((name) => (query[name] === undefined ? [] : [[name, query[name]]])),
  );
  return {
    ...texts,
    limit: limitOf(query),
    ...(after === undefined ? {} : { after: Number(after) }),
  };
}

function limitOf(query: Query): number {
  const limit = query["limit"];
  if (limit === undefined) return defaultPage;
  if (!/^\d{1,6}$/.test(limit) || Number(limit) < 1)
    throw badRequest("QueryInvalid", `limit is a number from 1 to ${maxPage}`);
  return Math.min(Number(limit), maxPage);
}
