// An MCP server made with the official SDK (TypeScript, 1.x): the tools, resources and prompts that MCP's own conformance suite asks
// for, over all its transports of sessions. Prints its port.
//
//   /mcp   streamable HTTP with sessions, events and resumption    /json  the same, answering in JSON    /sse  HTTP with SSE
import { createServer } from "node:http";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [packages] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(join(packages, "node_modules", path)).href);
const sdk = "@modelcontextprotocol/sdk/dist/esm";
const { McpServer, ResourceTemplate } = await load(`${sdk}/server/mcp.js`);
const { StreamableHTTPServerTransport } = await load(`${sdk}/server/streamableHttp.js`);
const { SSEServerTransport } = await load(`${sdk}/server/sse.js`);
const { completable } = await load(`${sdk}/server/completable.js`);
const types = await load(`${sdk}/types.js`);
const { InMemoryEventStore } = await load(`${sdk}/examples/shared/inMemoryEventStore.js`);
const { z } = await load("zod/index.js");

const png =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const wav = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=";
const text = (value) => ({ content: [{ type: "text", text: value }] });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function createMcp(transports) {
  const server = new McpServer(
    { name: "conformance", version: "1.0.0" },
    { capabilities: { logging: {}, resources: { subscribe: true }, completions: {} } },
  );
  const tool = (name, inputSchema, run) =>
    server.registerTool(name, { description: `Tests ${name}.`, inputSchema }, run);
  tool("test_simple_text", {}, () => text("This is a simple text response for testing."));
  tool("test_image_content", {}, () => ({
    content: [{ type: "image", data: png, mimeType: "image/png" }],
  }));
  tool("test_audio_content", {}, () => ({
    content: [{ type: "audio", data: wav, mimeType: "audio/wav" }],
  }));
  const embedded = (uri) => ({
    type: "resource",
    resource: { uri, mimeType: "text/plain", text: "This is an embedded resource content." },
  });
  tool("test_embedded_resource", {}, () => ({ content: [embedded("test://embedded-resource")] }));
  tool("test_multiple_content_types", {}, () => ({
    content: [
      { type: "text", text: "Multiple content types test:" },
      { type: "image", data: png, mimeType: "image/png" },
      embedded("test://mixed-content-resource"),
    ],
  }));
  tool("test_tool_with_logging", {}, async (_args, { sendNotification }) => {
    for (const data of [
      "Tool execution started",
      "Tool processing data",
      "Tool execution completed",
    ]) {
      await sendNotification({ method: "notifications/message", params: { level: "info", data } });
      await pause(60);
    }
    return text("Tool with logging executed successfully");
  });
  tool("test_tool_with_progress", {}, async (_args, { sendNotification, _meta }) => {
    const progressToken = _meta?.progressToken ?? 0;
    for (const progress of [0, 50, 100]) {
      await sendNotification({
        method: "notifications/progress",
        params: {
          progressToken,
          progress,
          total: 100,
          message: `Completed step ${progress} of 100`,
        },
      });
      await pause(60);
    }
    return text(String(progressToken));
  });
  tool("test_error_handling", {}, () => {
    throw new Error("This tool intentionally returns an error for testing");
  });
  tool("test_sampling", { prompt: z.string() }, async ({ prompt }, { sendRequest }) => {
    const result = await sendRequest(
      {
        method: "sampling/createMessage",
        params: {
          messages: [{ role: "user", content: { type: "text", text: prompt } }],
          maxTokens: 100,
        },
      },
      types.CreateMessageResultSchema,
    );
    return text(`LLM response: ${result.content.text}`);
  });
  const elicit = (message, properties, required) => async (sendRequest) => {
    const result = await sendRequest(
      {
        method: "elicitation/create",
        params: { message, requestedSchema: { type: "object", properties, required } },
      },
      types.ElicitResultSchema,
    );
    return text(
      `Elicitation completed: action=${result.action}, content=${JSON.stringify(result.content ?? {})}`,
    );
  };
  tool("test_elicitation", { message: z.string() }, ({ message }, { sendRequest }) =>
    elicit(
      message,
      {
        username: { type: "string", description: "User's response" },
        email: { type: "string", description: "User's email address" },
      },
      ["username", "email"],
    )(sendRequest),
  );
  tool("test_elicitation_sep1034_defaults", {}, (_args, { sendRequest }) =>
    elicit(
      "Please review",
      {
        name: { type: "string", default: "John Doe" },
        age: { type: "integer", default: 30 },
        score: { type: "number", default: 95.5 },
        status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
        verified: { type: "boolean", default: true },
      },
      [],
    )(sendRequest),
  );
  tool("test_roots", {}, async (_args, { sendRequest }) => {
    const { roots } = await sendRequest({ method: "roots/list" }, types.ListRootsResultSchema);
    return text(roots.map(({ uri }) => uri).join(","));
  });
  tool("test_reconnection", {}, async (_args, { closeSSEStream }) => {
    closeSSEStream?.();
    await pause(300);
    return text("Reconnection test completed successfully");
  });
  tool("echo", { value: z.any() }, ({ value }) => ({ ...text(JSON.stringify(value)) }));
  server.registerResource(
    "static-text",
    "test://static-text",
    { mimeType: "text/plain" },
    (uri) => ({
      contents: [
        {
          uri: uri.href,
          mimeType: "text/plain",
          text: "This is the content of the static text resource.",
        },
      ],
    }),
  );
  server.registerResource(
    "static-binary",
    "test://static-binary",
    { mimeType: "image/png" },
    (uri) => ({
      contents: [{ uri: uri.href, mimeType: "image/png", blob: png }],
    }),
  );
  server.registerResource(
    "watched",
    "test://watched-resource",
    { mimeType: "text/plain" },
    (uri) => ({
      contents: [{ uri: uri.href, mimeType: "text/plain", text: "watched" }],
    }),
  );
  server.registerResource(
    "template",
    new ResourceTemplate("test://template/{id}/data", { list: undefined }),
    { mimeType: "application/json" },
    (uri, { id }) => ({
      contents: [
        {
          uri: uri.href,
          mimeType: "application/json",
          text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }),
        },
      ],
    }),
  );
  server.server.setRequestHandler(types.SubscribeRequestSchema, () => ({}));
  server.server.setRequestHandler(types.UnsubscribeRequestSchema, () => ({}));
  const said = (value) => ({
    messages: [{ role: "user", content: { type: "text", text: value } }],
  });
  server.registerPrompt("test_simple_prompt", { description: "A simple prompt" }, () =>
    said("This is a simple prompt for testing."),
  );
  server.registerPrompt(
    "test_prompt_with_arguments",
    {
      description: "Takes arguments",
      argsSchema: { arg1: completable(z.string(), () => ["paris", "park"]), arg2: z.string() },
    },
    ({ arg1, arg2 }) => said(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`),
  );
  server.registerPrompt(
    "test_prompt_with_embedded_resource",
    { argsSchema: { resourceUri: z.string() } },
    ({ resourceUri }) => ({
      messages: [
        {
          role: "user",
          content: {
            type: "resource",
            resource: {
              uri: resourceUri,
              mimeType: "text/plain",
              text: "Embedded resource content for testing.",
            },
          },
        },
        {
          role: "user",
          content: { type: "text", text: "Please process the embedded resource above." },
        },
      ],
    }),
  );
  server.registerPrompt("test_prompt_with_image", {}, () => ({
    messages: [
      { role: "user", content: { type: "image", data: png, mimeType: "image/png" } },
      { role: "user", content: { type: "text", text: "Please analyze the image above." } },
    ],
  }));
  transports?.push(server);
  return server;
}

const sessions = new Map();
const older = new Map();

async function streamable(request, response, isJson) {
  const known = sessions.get(request.headers["mcp-session-id"]);
  if (known !== undefined) return known.handleRequest(request, response);
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: () => randomUUID(),
    enableJsonResponse: isJson,
    eventStore: new InMemoryEventStore(),
    retryInterval: 200,
    onsessioninitialized: (id) => sessions.set(id, transport),
  });
  transport.onclose = () => sessions.delete(transport.sessionId);
  await createMcp().connect(transport);
  return transport.handleRequest(request, response);
}

const http = createServer((request, response) => {
  const url = new URL(request.url, "http://server");
  const run = async () => {
    if (url.pathname === "/mcp") return streamable(request, response, false);
    if (url.pathname === "/json") return streamable(request, response, true);
    if (url.pathname === "/sse") {
      const transport = new SSEServerTransport("/messages", response);
      older.set(transport.sessionId, transport);
      return createMcp().connect(transport);
    }
    if (url.pathname === "/messages")
      return (
        older.get(url.searchParams.get("sessionId"))?.handlePostMessage(request, response) ??
        response.writeHead(404).end()
      );
    return response.writeHead(404).end();
  };
  run().catch((error) => {
    process.stderr.write(`${error.stack}\n`);
    response.writeHead(500).end();
  });
});
http.listen(0, "127.0.0.1", () => process.stdout.write(`${http.address().port}\n`));
