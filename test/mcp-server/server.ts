// A scripted MCP server on a real socket: each message is answered by a function of the test, with JSON, with events, or with any bytes.
import { createServer } from "node:http";
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Received {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  /** The JSON of the body, where it is JSON. */
  readonly message: Rpc | undefined;
  readonly body: string;
}

export interface Rpc {
  readonly jsonrpc?: string;
  readonly id?: string | number;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: unknown };
}

export type Answerer = (received: Received, response: ServerResponse) => void;

export interface McpServer {
  readonly port: number;
  readonly received: Received[];
  /** Of the messages received, the methods. */
  methods(): readonly string[];
  answer: Answerer;
  close(): Promise<void>;
}

export async function startMcpServer(
  answer: Answerer = answerAs(),
  { host = "127.0.0.1", port = 0 }: { readonly host?: string; readonly port?: number } = {},
): Promise<McpServer> {
  const received: Received[] = [];
  const http = createServer((request, response) => {
    void readAll(request).then((body) => {
      const one = {
        method: request.method ?? "",
        url: request.url ?? "",
        headers: request.headers,
        body,
        message: parsed(body),
      };
      received.push(one);
      server.answer(one, response);
    });
  });
  await new Promise<void>((resolve) => http.listen(port, host, resolve));
  const server: McpServer = {
    port: (http.address() as AddressInfo).port,
    received,
    methods: () =>
      received.map(
        ({ message, method }) => message?.method ?? (message === undefined ? method : "answer"),
      ),
    answer,
    close: () =>
      new Promise((resolve) => {
        http.closeAllConnections();
        http.close(() => resolve());
      }),
  };
  return server;
}

async function readAll(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

function parsed(body: string): Rpc | undefined {
  try {
    return JSON.parse(body) as Rpc;
  } catch {
    return undefined;
  }
}

export const tools = [
  {
    name: "search",
    description: "Finds orders.",
    inputSchema: { type: "object", properties: { q: { type: "string" } } },
  },
  { name: "delete", description: "Deletes orders.", inputSchema: { type: "object" } },
  {
    name: "read_file",
    description: "Reads a file.",
    inputSchema: { type: "object", properties: { path: { type: "string" } } },
  },
];

/** Results by method; a tool answers with what it was called with. */
export function resultOf({ method, params = {} }: Rpc): Record<string, unknown> {
  switch (method) {
    case "initialize":
      return {
        protocolVersion: params["protocolVersion"],
        capabilities: { tools: {} },
        serverInfo: { name: "scripted", version: "1" },
      };
    case "server/discover":
      return {
        resultType: "complete",
        supportedVersions: ["2026-07-28", "2031-01-01"],
        capabilities: {},
        serverInfo: { name: "scripted", version: "1" },
      };
    case "tools/list":
      return { tools, nextCursor: "2" };
    case "tools/call":
      return {
        content: [
          { type: "text", text: `called with ${JSON.stringify(params["arguments"] ?? {})}` },
        ],
      };
    case "resources/list":
      return {
        resources: [
          { uri: "file:///data/a", name: "a" },
          { uri: "file:///etc/b", name: "b" },
        ],
      };
    case "resources/templates/list":
      return {
        resourceTemplates: [
          { uriTemplate: "file:///data/{name}", name: "data" },
          { uriTemplate: "db://{table}", name: "db" },
        ],
      };
    case "resources/read":
      return { contents: [{ uri: params["uri"], text: "the text" }] };
    case "prompts/list":
      return { prompts: [{ name: "review" }, { name: "secret" }] };
    case "prompts/get":
      return { messages: [{ role: "user", content: { type: "text", text: "the prompt" } }] };
    default:
      return {};
  }
}

export const session = "session-1";

/** Answers as a server of sessions does: JSON, or a stream of events; notifications with 202. */
export function answerAs(
  form: "json" | "events" = "json",
  result: (message: Rpc) => Record<string, unknown> = resultOf,
): Answerer {
  return ({ message, method }, response) => {
    if (method !== "POST" || message === undefined) {
      response.writeHead(405).end();
      return;
    }
    if (message.id === undefined || message.method === undefined) {
      response.writeHead(202).end();
      return;
    }
    const headers = message.method === "initialize" ? { "mcp-session-id": session } : {};
    const text = JSON.stringify({ jsonrpc: "2.0", id: message.id, result: result(message) });
    if (form === "json")
      response.writeHead(200, { ...headers, "content-type": "application/json" }).end(text);
    else
      response
        .writeHead(200, { ...headers, "content-type": "text/event-stream" })
        .end(event(text, "1"));
  };
}

export function event(data: string, id?: string): string {
  return `event: message\n${id === undefined ? "" : `id: ${id}\n`}data: ${data}\n\n`;
}
