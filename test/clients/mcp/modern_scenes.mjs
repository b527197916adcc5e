// What an agent does with the official SDK (TypeScript, 2.x) without a session, as JSON: `node modern_scenes.mjs PACKAGES URL`.
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [packages, url] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(join(packages, "node_modules", path)).href);
const { Client, StreamableHTTPClientTransport } = await load(
  "@modelcontextprotocol/client/dist/index.mjs",
);

const client = new Client(
  { name: "scenes", version: "1.0.0" },
  { capabilities: { elicitation: {} }, versionNegotiation: { mode: "auto" } },
);
client.setRequestHandler("elicitation/create", () => ({ action: "accept", content: { ok: true } }));
await client.connect(new StreamableHTTPClientTransport(new URL(url)));

const scenes = {};
const scene = async (name, run) => {
  try {
    scenes[name] = await run();
  } catch (error) {
    scenes[name] = { error: error.name, code: error.code, message: error.message };
  }
};
const call = (name, args = {}) => client.callTool({ name, arguments: args });
await scene("version", () => client.getNegotiatedProtocolVersion?.() ?? client.getServerVersion());
await scene("tools", () => client.listTools());
await scene("add", () => call("add", { a: 1, b: 2 }));
await scene("echo", () => call("echo", { value: "Straße 🚀" }));
await scene("fail", () => call("fail"));
await scene("unknown tool", () => call("no_such_tool"));
await scene("steps", () => call("steps"));
await scene("confirm", () => call("confirm"));
await scene("resources", () => client.listResources());
await scene("templates", () => client.listResourceTemplates());
await scene("read", () => client.readResource({ uri: "data://orders/one" }));
await scene("read secret", () => client.readResource({ uri: "data://secret/one" }));
await scene("prompts", () => client.listPrompts());
await scene("prompt", () => client.getPrompt({ name: "review", arguments: { text: "a" } }));
await client.close();
process.stdout.write(JSON.stringify(scenes));
