// What an agent does with the official SDK (TypeScript, 1.x), as JSON: `node sdk_scenes.mjs PACKAGES URL streamable|json|sse`.
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [packages, url, transportName] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(join(packages, "node_modules", path)).href);
const sdk = "@modelcontextprotocol/sdk/dist/esm";
const { Client } = await load(`${sdk}/client/index.js`);
const { StreamableHTTPClientTransport } = await load(`${sdk}/client/streamableHttp.js`);
const { SSEClientTransport } = await load(`${sdk}/client/sse.js`);
const types = await load(`${sdk}/types.js`);

const heard = [];
const client = new Client(
  { name: "scenes", version: "1.0.0" },
  { capabilities: { sampling: {}, elicitation: {}, roots: {} } },
);
client.setRequestHandler(types.CreateMessageRequestSchema, () => ({
  model: "m",
  role: "assistant",
  content: { type: "text", text: "sampled" },
}));
client.setRequestHandler(types.ElicitRequestSchema, () => ({
  action: "accept",
  content: { username: "ann", email: "ann@example.com" },
}));
client.setRequestHandler(types.ListRootsRequestSchema, () => ({
  roots: [{ uri: "file:///work" }],
}));
client.setNotificationHandler(
  types.LoggingMessageNotificationSchema,
  ({ params }) => void heard.push(params.data),
);
const Transport = transportName === "sse" ? SSEClientTransport : StreamableHTTPClientTransport;
const transport = new Transport(new URL(url));
await client.connect(transport);

const scenes = {};
const scene = async (name, run) => {
  try {
    scenes[name] = await run();
  } catch (error) {
    scenes[name] = { error: error.name, code: error.code, message: error.message };
  }
};
const call = (name, args = {}, options) =>
  client.callTool({ name, arguments: args }, undefined, options);

await scene("server", () => ({
  ...client.getServerVersion(),
  capabilities: client.getServerCapabilities(),
}));
await scene("ping", () => client.ping());
await scene("tools", () => client.listTools());
await scene("text", () => call("test_simple_text"));
await scene("image", () => call("test_image_content"));
await scene("mixed", () => call("test_multiple_content_types"));
await scene("error", () => call("test_error_handling"));
await scene("unknown tool", () => call("no_such_tool"));
await scene("wrong arguments", () => call("test_sampling", { prompt: 1 }));
const progress = [];
await scene("progress", async () => {
  const result = await call(
    "test_tool_with_progress",
    {},
    { onprogress: (one) => void progress.push(one.progress) },
  );
  return { content: result.content.length, progress: progress.slice(0, 2) };
});
await scene("logging", async () => ({
  level: await client.setLoggingLevel("info"),
  result: await call("test_tool_with_logging"),
  heard,
}));
// A server that answers in JSON has no way to ask the client while it answers, nor to say how far it is.
if (transportName !== "json") {
  await scene("sampling", () => call("test_sampling", { prompt: "hello" }));
  await scene("elicitation", () => call("test_elicitation", { message: "who?" }));
  await scene("roots", () => call("test_roots"));
}
await scene("echo", () =>
  call("echo", {
    value: { text: "Straße 🚀 \u2028", n: [1.5, -0, 1e21], deep: { a: [null, true] } },
  }),
);
await scene(
  "large",
  async () => (await call("echo", { value: "x".repeat(300_000) })).content[0].text.length,
);
await scene("many at once", async () =>
  (await Promise.all(Array.from({ length: 20 }, (_, n) => call("echo", { value: n })))).map(
    ({ content }) => content[0].text,
  ),
);
await scene("resources", () => client.listResources());
await scene("templates", () => client.listResourceTemplates());
await scene("read", () => client.readResource({ uri: "test://static-text" }));
await scene("read binary", () => client.readResource({ uri: "test://static-binary" }));
await scene("read template", () => client.readResource({ uri: "test://template/7/data" }));
await scene("read nothing", () => client.readResource({ uri: "test://nothing" }));
await scene("subscribe", () => client.subscribeResource({ uri: "test://watched-resource" }));
await scene("prompts", () => client.listPrompts());
await scene("prompt", () =>
  client.getPrompt({ name: "test_prompt_with_arguments", arguments: { arg1: "a", arg2: "b" } }),
);
await scene("completion", () =>
  client.complete({
    ref: { type: "ref/prompt", name: "test_prompt_with_arguments" },
    argument: { name: "arg1", value: "pa" },
  }),
);
if (transportName !== "sse") {
  if (transportName === "streamable") await scene("reconnection", () => call("test_reconnection"));
  await scene("end of the session", () => transport.terminateSession());
}
await client.close();
process.stdout.write(JSON.stringify(scenes));
