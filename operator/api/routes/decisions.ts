// POST /v1/read/requests/:namespace/:name/decision: a person's verdict, stamped with the identity we authenticated, never with one the body names.
import type { FastifyInstance } from "fastify";
import { clusterScope } from "../../../policy/cluster.ts";
import type { ApiContext } from "../context.ts";
import { ApiError, forbidden, notFound } from "../errors.ts";
import { requestRow } from "./read.ts";

interface Decision {
  readonly verdict: "Approved" | "Denied";
  readonly reason?: string;
}

export function decisionRoutes(app: FastifyInstance, context: ApiContext): void {
  const { approvals, requests, signalOf, now } = context;

  app.post<{ Params: { namespace: string; name: string } }>(
    "/v1/read/requests/:namespace/:name/decision",
    { schema: { body: decisionSchema } },
    async (request) => {
      const { namespace, name } = request.params;
      const { verdict, reason } = request.body as Decision; // as decisionSchema admits
      const approver = await context.person(request, {
        verb: "get",
        resource: "accessrequests",
        namespace,
        name,
      });
      const asked = await requests.get(namespace, name, signalOf(request));
      if (asked === undefined)
        throw notFound("RequestNotFound", `there is no access request ${namespace}/${name}`);
      // Kubernetes RBAC first, on every policy that asks; the listed approvers besides.
      for (const policy of asked.spec.policies) {
        const [within, policyName] = policy.name.includes("/")
          ? policy.name.split("/")
          : [namespace, policy.name];
        if (within === undefined || policyName === undefined)
          throw forbidden("NotAuthorized", `access request ${namespace}/${name} names no policy`);
        await context.person(request, {
          verb: "approve",
          ...(within === clusterScope
            ? { resource: "clusteraccesspolicies", namespace: undefined }
            : { resource: "accesspolicies", namespace: within }),
          name: policyName,
        });
      }
      const answer = await approvals.decide(
        { namespace, name, approver, verdict, ...(reason === undefined ? {} : { reason }) },
        signalOf(request),
      );
      if ("notFound" in answer)
        throw notFound("RequestNotFound", `there is no access request ${namespace}/${name}`);
      if ("refused" in answer) {
        const { refused, message } = answer.refused;
        const isLate =
          refused === "NotPending" || refused === "RequestExpired" || refused === "AlreadyDecided";
        throw isLate
          ? new ApiError(409, "conflict", refused, message)
          : forbidden(refused, message);
      }
      return requestRow(answer.request, now());
    },
  );
}

const decisionSchema = {
  type: "object",
  required: ["verdict"],
  additionalProperties: false,
  properties: {
    verdict: { enum: ["Approved", "Denied"] },
    reason: { type: "string", maxLength: 1_024 },
  },
} as const;
