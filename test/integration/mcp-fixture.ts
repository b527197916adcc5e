// A room before a scripted MCP server, and a client that sends exactly what a test says.
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import type { BundleRule } from "../../policy/bundle.ts";
import { answerAs, startMcpServer } from "../mcp-server/server.ts";
import type { Answerer, McpServer, Rpc } from "../mcp-server/server.ts";
import { send, startRoom } from "./http-proxy-fixture.ts";
import type { Answer, ConnectionSetup, Recorded, TestRoom } from "./http-proxy-fixture.ts";

export const modern = "2026-07-28";

export interface McpRoom {
  readonly room: TestRoom;
  readonly server: McpServer;
  /** One message over HTTP, with headers of its own. */
  post(message: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** The same, and the message that it is answered with. */
  rpc(
    method: string,
    params?: Record<string, unknown>,
    headers?: Record<string, string>,
  ): Promise<Rpc>;
  call(
    tool: string,
    args?: Record<string, unknown>,
    headers?: Record<string, string>,
  ): Promise<ToolResult>;
  /** Operations in the record, by their summary. */
  recorded(summary: string): readonly Recorded[];
}

export interface ToolResult {
  readonly text: string;
  readonly isError: boolean;
  readonly refusal: Record<string, unknown> | undefined;
}

export async function startMcpRoom(
  t: TestContext,
  rules: readonly Partial<BundleRule>[],
  setup: Partial<ConnectionSetup> & { readonly answer?: Answerer; readonly path?: string } = {},
): Promise<McpRoom> {
  const server = await startMcpServer(setup.answer ?? answerAs());
  t.after(() => server.close());
  const path = setup.path ?? "/mcp";
  const room = await startRoom(t, [
    {
      name: "tools",
      protocol: "mcp",
      rules,
      ...setup,
      upstream: { port: server.port, basePath: path },
    },
  ]);
  const post: McpRoom["post"] = (message, headers = {}) =>
    send(room, {
      method: "POST",
      path,
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        ...headers,
      },
      body: typeof message === "string" ? message : JSON.stringify(message),
    });
  let id = 0;
  const rpc: McpRoom["rpc"] = async (method, params = {}, headers = {}) => {
    const answer = await post({ jsonrpc: "2.0", id: ++id, method, params }, headers);
    return messageIn(answer);
  };
  return {
    room,
    server,
    post,
    rpc,
    call: async (name, args = {}, headers = {}) =>
      toolResult(await rpc("tools/call", { name, arguments: args }, headers)),
    recorded: (summary) =>
      room.operations().filter(({ body }) => body.operation?.summary === summary),
  };
}

/** The one message of a body, whichever form it has. */
export function messageIn({ headers, text }: Answer): Rpc {
  if (headers["content-type"]?.startsWith("text/event-stream") !== true)
    return JSON.parse(text) as Rpc;
  const messages = messagesIn(text);
  assert.ok(messages.length > 0, "the stream has no message");
  return messages.at(-1) ?? {};
}

export function messagesIn(stream: string): Rpc[] {
  return stream
    .split("\n")
    .filter((line) => line.startsWith("data: {"))
    .map((line) => JSON.parse(line.slice("data: ".length)) as Rpc);
}

export function toolResult({ result }: Rpc): ToolResult {
  assert.ok(result !== undefined, "a call is answered with a result, whatever came of it");
  const content = result["content"] as { text: string }[];
  const meta = result["_meta"] as Record<string, Record<string, unknown>> | undefined;
  return {
    text: content.map(({ text }) => text).join("\n"),
    isError: result["isError"] === true,
    refusal: meta?.["chaperone.dev/refusal"],
  };
}

/** Of a list of tools. */
export function toolNames({ result }: Rpc): string[] {
  const tools = result?.["tools"];
  assert.ok(Array.isArray(tools), "it lists tools");
  return tools.map((tool: { name: string }) => tool.name);
}

/** What a message without a session brings along. */
export function modernHeaders(method: string, name?: string): Record<string, string> {
  return {
    "mcp-protocol-version": modern,
    "mcp-method": method,
    ...(name !== undefined && { "mcp-name": name }),
  };
}

export const modernMeta = {
  _meta: {
    "io.modelcontextprotocol/protocolVersion": modern,
    "io.modelcontextprotocol/clientCapabilities": {},
  },
};
