// Anthropic's SDK for JavaScript and LangChain's model of it, as their environment tells them where and with which key.
import { createRequire } from "node:module";

const [packages] = process.argv.slice(2);
const require = createRequire(`${packages}/`);
const Anthropic = require("@anthropic-ai/sdk");
const { ChatAnthropic } = require("@langchain/anthropic");
const { createAgent, tool } = require("langchain");
const { z } = require("zod");

const client = new Anthropic({ timeout: 30_000 });
const model = "claude-test";
const thinking = { type: "enabled", budget_tokens: 1024 };
const pay = {
  name: "pay",
  description: "Pays",
  input_schema: { type: "object", properties: { number: { type: "integer" } } },
};
const ask = (text, more = {}) => ({
  model,
  max_tokens: 2048,
  messages: [{ role: "user", content: text }],
  ...more,
});
const shown = (message) => [message.content, message.stop_reason, message.usage.output_tokens];
const streamed = async (request) => {
  const pieces = [];
  const stream = client.messages.stream(request).on("text", (text) => pieces.push(text));
  return [pieces.join(""), shown(await stream.finalMessage())];
};
const lookUp = tool(({ number }) => `invoice ${number} is due`, {
  name: "look_up",
  description: "Looks an invoice up",
  schema: z.object({ number: z.number() }),
});

const scenes = {
  whole: async () => shown(await client.messages.create(ask("hi"))),
  wholeSecret: async () => shown(await client.messages.create(ask("secret", { thinking }))),
  streamed: () => streamed(ask("hi")),
  streamedSecret: () => streamed(ask("secret", { thinking })),
  toolStreamed: () => streamed(ask("secret please", { tools: [pay] })),
  rawEvents: async () => {
    const types = [];
    for await (const event of await client.messages.create({ ...ask("hi"), stream: true }))
      if (types.at(-1) !== event.type) types.push(event.type);
    return types;
  },
  countTokens: async () =>
    (await client.messages.countTokens({ model, messages: [] })).input_tokens,
  models: async () => {
    const names = [];
    for await (const one of client.models.list()) names.push(one.id);
    return names;
  },
  overloaded: () =>
    new Anthropic({ maxRetries: 0 }).messages
      .create(ask("overload"))
      .catch((error) => [error.constructor.name, error.status, error.error.error.type]),
  langchainStreams: async () => {
    let whole;
    for await (const chunk of await new ChatAnthropic({ model, maxTokens: 2048, thinking }).stream(
      "secret",
    ))
      whole = whole === undefined ? chunk : whole.concat(chunk);
    return [whole.content, whole.usage_metadata.output_tokens];
  },
  langchainAgent: async () => {
    const agent = createAgent({ model: new ChatAnthropic({ model }), tools: [lookUp] });
    const pieces = [];
    for await (const [token] of await agent.stream(
      { messages: "which is due?" },
      { streamMode: "messages" },
    ))
      pieces.push(token.text);
    const { messages } = await agent.invoke({ messages: "which is due?" });
    return [
      pieces.join(""),
      messages.map((one) => one.text),
      messages.flatMap((one) => one.tool_calls ?? []).map(({ args }) => args),
    ];
  },
};

const results = {};
for (const [name, scene] of Object.entries(scenes)) results[name] = await scene();
process.stdout.write(JSON.stringify(results));
