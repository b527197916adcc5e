// POST /v1/tools: which tools of an MCP server a proxy saw, and which of them it may take for known.
import type { FastifyInstance } from "fastify";
import { maxPinnedTools } from "../../../contract/control.ts";
import type { PinnedTools, SeenTools } from "../../../contract/control.ts";
import type { Requester } from "../../approvals/open.ts";
import type { ToolPins } from "../../connections/tool-pins.ts";
import type { ApiContext } from "../context.ts";
import { forbidden } from "../errors.ts";

/** Every tool that may be pinned, by the longest name. */
const maxToolsBytes = 512 * 1024;

export interface ToolRoutes {
  readonly pins: ToolPins;
  /** Why this subject cannot obtain a grant for the connection; undefined when it can. */
  readonly refusal: (requester: Requester, connection: string) => string | undefined;
}

export function toolRoutes(
  app: FastifyInstance,
  context: ApiContext,
  { pins, refusal }: ToolRoutes,
): void {
  app.post(
    "/v1/tools",
    { onRequest: context.requireProxy, bodyLimit: maxToolsBytes, schema: { body: toolsSchema } },
    async (request): Promise<PinnedTools> => {
      const { subject } = context.grantOf(request);
      const tools = request.body as SeenTools; // as toolsSchema admits
      const refused = refusal(subject, tools.connection);
      if (refused !== undefined)
        throw forbidden("NotInForce", `this pod has no grant for connection ${tools.connection}`);
      return { tools: await pins.see(subject, tools, context.signalOf(request)) };
    },
  );
}

const list = {
  type: "array",
  maxItems: maxPinnedTools,
  items: {
    type: "object",
    required: ["name", "digest"],
    properties: {
      name: { type: "string", minLength: 1, maxLength: 256 },
      digest: { type: "string", pattern: "^sha256-[-A-Za-z0-9_]{43}$" },
    },
  },
} as const;

const toolsSchema = {
  type: "object",
  required: ["connection", "seen", "changed"],
  properties: {
    connection: {
      type: "string",
      maxLength: 317,
      pattern: "^[a-z0-9][-a-z0-9]*/[a-z0-9][-a-z0-9.]*$",
    },
    seen: list,
    changed: list,
  },
} as const;
