// POST /v1/budgets for proxies, GET /v1/read/budgets for people.
import type { FastifyInstance } from "fastify";
import type { BudgetAnswer, BudgetCall } from "../../../contract/budget.ts";
import { budgetNames, budgetsOf } from "../../../policy/budget/budget.ts";
import { BudgetsBusy } from "../../budgets/budgets.ts";
import { govern } from "../../grants/govern.ts";
import type { ApiContext } from "../context.ts";
import { forbidden, unavailable } from "../errors.ts";

/** A report and a want for each budget and period. */
const maxCallBytes = 8 * 1024;

export function budgetRoutes(app: FastifyInstance, context: ApiContext): void {
  const { budgets, governing, reader, grantOf, signalOf } = context;

  app.post(
    "/v1/budgets",
    { onRequest: context.requireProxy, bodyLimit: maxCallBytes, schema: { body: callSchema } },
    async (request): Promise<BudgetAnswer> => {
      const { subject, binding } = grantOf(request);
      const call = request.body as BudgetCall; // as callSchema admits
      const governed = govern(governing, subject, undefined, call.connection);
      // One that may not use the connection any more still says what it spent.
      const isOver = "refused" in governed;
      if (isOver && call.wants.length > 0) throw forbidden(governed.refused, governed.message);
      const limits = isOver ? {} : budgetsOf(governed.bundle.limits);
      try {
        return await budgets.settle({ ...subject, key: binding.jkt }, call, limits);
      } catch (error) {
        if (error instanceof BudgetsBusy) throw unavailable("BudgetsBusy", error.message);
        throw error;
      }
    },
  );

  app.get<{ Querystring: { readonly namespace?: string } }>("/v1/read/budgets", async (request) => {
    const { namespace } = request.query;
    await context.person(request, { verb: "list", resource: "accesspolicies", namespace });
    const rows = await reader.budgets(context.now(), signalOf(request));
    return {
      budgets: namespace === undefined ? rows : rows.filter((row) => row.namespace === namespace),
    };
  });
}

const count = { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER };
const period = { type: "string", pattern: "^\\d{4}-\\d\\d-\\d\\d(T\\d\\d:\\d\\d)?$" };
const budget = { enum: budgetNames };

const callSchema = {
  type: "object",
  required: ["connection", "reports", "wants"],
  properties: {
    connection: {
      type: "string",
      maxLength: 317,
      pattern: "^[a-z0-9][-a-z0-9]*/[a-z0-9][-a-z0-9.]*$",
    },
    reports: {
      type: "array",
      maxItems: 16,
      items: {
        type: "object",
        required: ["budget", "period", "returned", "spent"],
        properties: { budget, period, returned: count, spent: count },
      },
    },
    wants: {
      type: "array",
      maxItems: budgetNames.length,
      items: {
        type: "object",
        required: ["budget", "base", "need", "wish"],
        properties: { budget, period, base: count, need: count, wish: count },
      },
    },
    closes: { const: true },
  },
} as const;
