// POST /v1/requests, GET /v1/requests/:name, POST /v1/requests/:name/spend: held operations, as proxies see them.
import type { FastifyInstance } from "fastify";
import type {
  OpenRequest,
  RequestState,
  SpendAnswer,
  SpendRequest,
} from "../../../contract/control.ts";
import { maxDetailBytes } from "../../approvals/details.ts";
import { RequestRefused } from "../../approvals/open.ts";
import { splitReference, stateOf } from "../../approvals/state.ts";
import type { ApiContext } from "../context.ts";
import { forbidden, notFound, tooMany } from "../errors.ts";

/** The detail, as JSON escapes it at worst, and the rest. */
const maxRequestBytes = 2 * maxDetailBytes;

interface NameParams {
  readonly name: string;
}

export function requestRoutes(app: FastifyInstance, context: ApiContext): void {
  const { approvals, requests, grantOf, signalOf, now } = context;
  const proxyOnly = { onRequest: context.requireProxy };

  app.post(
    "/v1/requests",
    { ...proxyOnly, bodyLimit: maxRequestBytes, schema: { body: openSchema } },
    async (request): Promise<RequestState> => {
      const { subject } = grantOf(request);
      const open = request.body as OpenRequest; // as openSchema admits
      try {
        return stateOf(
          await approvals.open(subject, open, signalOf(request)),
          subject.namespace,
          now(),
        );
      } catch (error) {
        if (!(error instanceof RequestRefused)) throw error;
        throw error.reason === "TooManyRequests"
          ? tooMany(error.reason, error.message)
          : forbidden(error.reason, error.message);
      }
    },
  );

  app.get<{ Params: NameParams }>(
    "/v1/requests/:name",
    proxyOnly,
    async (request): Promise<RequestState> => {
      const { subject } = grantOf(request);
      const { namespace, name } = splitReference(request.params.name, subject.namespace);
      const found = await requests.get(namespace, name, signalOf(request));
      // Another pod's request is none of this one's business, not even that it exists.
      if (found === undefined || found.spec.requester.podUid !== subject.podUid)
        throw notFound("RequestNotFound", `this pod has no access request ${request.params.name}`);
      return stateOf(found, subject.namespace, now());
    },
  );

  app.post<{ Params: NameParams }>(
    "/v1/requests/:name/spend",
    { ...proxyOnly, schema: { body: spendSchema } },
    async (request): Promise<SpendAnswer> => {
      const { subject } = grantOf(request);
      const { namespace, name } = splitReference(request.params.name, subject.namespace);
      const { digest } = request.body as SpendRequest; // as spendSchema admits
      return await approvals.spend(subject, namespace, name, digest, signalOf(request));
    },
  );
}

const text = (maxLength: number, minLength = 1) => ({ type: "string", minLength, maxLength });
const digest = { type: "string", pattern: "^sha256-[-A-Za-z0-9_]{43}$" };

const spendSchema = { type: "object", required: ["digest"], properties: { digest } } as const;

const openSchema = {
  type: "object",
  required: ["connection", "session", "digest", "kind", "summary", "approvals"],
  properties: {
    connection: {
      type: "string",
      maxLength: 317,
      pattern: "^[a-z0-9][-a-z0-9]*/[a-z0-9][-a-z0-9.]*$",
    },
    session: text(64),
    digest,
    kind: text(16),
    summary: text(65_536, 0),
    detail: text(maxDetailBytes, 0),
    chain: text(128, 0),
    approvals: {
      type: "array",
      minItems: 1,
      maxItems: 32,
      items: {
        type: "object",
        required: ["policy", "rule"],
        properties: { policy: text(317), rule: text(63) },
      },
    },
  },
} as const;
