// What agents do with OpenAI's SDK for JavaScript, LangChain and Ollama's client: each scene as its program sees it.
// usage: openai_scenes.mjs PACKAGES [denied], with OPENAI_BASE_URL, OPENAI_API_KEY, HOST and MODEL in the environment; prints JSON.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [packages, part] = process.argv.slice(2);
const { resolve } = createRequire(`${packages}/node_modules/`);
const load = (name) => import(pathToFileURL(resolve(name)).href);
const { default: OpenAI, AzureOpenAI, toFile } = await load("openai");
const { ChatOpenAI, AzureChatOpenAI } = await load("@langchain/openai");
const { createAgent, tool } = await load("langchain");
const { Ollama } = await load("ollama");
const { z } = await load("zod");

const { HOST: host, OPENAI_API_KEY: apiKey, OPENAI_BASE_URL: baseURL } = process.env;
const client = new OpenAI({ timeout: 60_000 });
const model = process.env.MODEL ?? "gpt-test";
const ask = { model, messages: [{ role: "user", content: "hi" }] };
const configuration = { baseURL };
const parameters = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
const weather = { name: "get_weather", parameters, strict: true };
const question = "agent: weather in 'Paris'";

async function all(stream, read) {
  let text = "";
  for await (const one of stream) text += read(one) ?? "";
  return text;
}

const getWeather = tool(({ city }) => `It is sunny in ${city}; ask jane@example.com.`, {
  name: "get_weather",
  description: "The weather in a city.",
  schema: z.object({ city: z.string() }),
});

const agentOf = (more) =>
  createAgent({
    model: new ChatOpenAI({ model, apiKey, configuration, ...more }),
    tools: [getWeather],
  });

async function streamedAgent(more) {
  const pieces = {};
  const stream = await agentOf({ streaming: true, ...more }).stream(
    { messages: [{ role: "user", content: question }] },
    { streamMode: "messages" },
  );
  for await (const [message] of stream)
    pieces[message.getType()] = (pieces[message.getType()] ?? "") + message.text;
  return pieces;
}

const scenes = {
  chat: async () => (await client.chat.completions.create(ask)).choices[0].message.content,
  "chat-streamed": () =>
    client.chat.completions
      .stream(ask)
      .finalChatCompletion()
      .then(({ choices }) => choices[0].message.content),
  "chat-tools": async () => {
    const tools = [{ type: "function", function: weather }];
    const messages = [{ role: "user", content: question }];
    const final = await client.chat.completions
      .stream({ model, messages, tools })
      .finalChatCompletion();
    return final.choices[0].message.tool_calls[0].function;
  },
  responses: async () => (await client.responses.create({ model, input: "hi" })).output_text,
  "responses-streamed": async () => {
    const stream = client.responses.stream({ model, input: "hi" });
    const spelled = await all(stream, (event) =>
      event.type === "response.output_text.delta" ? event.delta : "",
    );
    return [spelled, (await stream.finalResponse()).output_text];
  },
  "responses-tools": async () => {
    const tools = [{ type: "function", ...weather }];
    const final = await client.responses.stream({ model, input: question, tools }).finalResponse();
    return final.output[0].arguments;
  },
  completions: async () =>
    all(
      await client.completions.create({ model, prompt: "hi", stream: true }),
      (chunk) => chunk.choices[0].text,
    ),
  failure: () =>
    client.chat.completions
      .create({ model, messages: [{ role: "user", content: "fail" }] })
      .catch((error) => [error.constructor.name, error.status, error.error]),
  embeddings: async () =>
    (await client.embeddings.create({ model, input: "hi" })).data[0].embedding.slice(0, 3),
  audio: async () => {
    const file = await toFile(Buffer.from("mp3".repeat(1_000)), "a.mp3");
    return (await client.audio.transcriptions.create({ model: "whisper-1", file })).text;
  },
  files: async () => {
    const body = { model: "gpt-test", messages: [{ role: "user", content: "hi" }] };
    const line = { custom_id: "1", method: "POST", url: "/v1/chat/completions", body };
    const file = await toFile(Buffer.from(JSON.stringify(line)), "a.jsonl");
    return (await client.files.create({ purpose: "batch", file })).id;
  },
  images: async () =>
    (await client.images.generate({ model: "gpt-image-1", prompt: "for jane@example.com" }))
      .data[0],
  langchain: async () =>
    (await new ChatOpenAI({ model, apiKey, configuration }).invoke("hi")).content,
  "langchain-streamed": async () =>
    all(await new ChatOpenAI({ model, apiKey, configuration }).stream("hi"), ({ text }) => text),
  agent: async () => {
    const { messages } = await agentOf({}).invoke({
      messages: [{ role: "user", content: question }],
    });
    return messages.map((message) => [
      message.getType(),
      message.text,
      message.tool_calls?.[0]?.args,
    ]);
  },
  "agent-streamed": () => streamedAgent({}),
  "agent-streamed-responses": () => streamedAgent({ useResponsesApi: true }),
  azure: async () => {
    // Its clients take it for their own, and want one address alone.
    delete process.env.OPENAI_BASE_URL;
    const settings = { endpoint: host, apiKey, apiVersion: "2024-10-21", deployment: "my-gpt" };
    const sdk = await new AzureOpenAI(settings).chat.completions.create(ask);
    const chain = new AzureChatOpenAI({
      azureOpenAIEndpoint: host,
      azureOpenAIApiKey: apiKey,
      azureOpenAIApiVersion: "2024-10-21",
      azureOpenAIApiDeploymentName: "my-gpt",
    });
    return [sdk.choices[0].message.content, (await chain.invoke("hi")).content];
  },
  ollama: async () => {
    const own = new Ollama({ host, headers: { authorization: `Bearer ${apiKey}` } });
    const asked = { ...ask, model: "llama3.2" };
    return [
      (await own.chat(asked)).message.content,
      await all(await own.chat({ ...asked, stream: true }), ({ message }) => message.content),
    ];
  },
};

const told = (error) => [
  error.constructor.name,
  error.status ?? error.status_code,
  error.code ?? null,
  error.message,
];
const denied = [
  () => client.chat.completions.create(ask),
  () => client.chat.completions.create({ ...ask, stream: true }),
  () => client.responses.create({ model, input: "hi" }),
  () => new ChatOpenAI({ model, apiKey, configuration }).invoke("hi"),
  () => new Ollama({ host }).chat(ask),
];

const results =
  part === "denied"
    ? await Promise.all(denied.map((call) => call().then(() => "allowed", told)))
    : {};
if (part === undefined)
  for (const [name, scene] of Object.entries(scenes)) results[name] = await scene();
process.stdout.write(JSON.stringify(results), () => process.exit(0));
