// Google's SDK for JavaScript, as its arguments tell it where and with which key.
import { createRequire } from "node:module";

const [packages] = process.argv.slice(2);
const { GoogleGenAI } = createRequire(`${packages}/`)("@google/genai");
const { TEST_BASE_URL: baseUrl, TEST_API_KEY: apiKey } = process.env;
const ai = new GoogleGenAI({ apiKey, httpOptions: { baseUrl } });
const model = "gemini-test";
const config = { thinkingConfig: { includeThoughts: true } };
const tools = [
  {
    functionDeclarations: [
      {
        name: "look_up",
        parametersJsonSchema: { type: "object", properties: { number: { type: "integer" } } },
      },
    ],
  },
];

const parts = (response) => response.candidates[0].content.parts;
async function joined(stream) {
  const texts = { thought: "", text: "" };
  const calls = [];
  let last;
  for await (const chunk of stream) {
    for (const part of parts(chunk) ?? []) {
      if (part.text !== undefined) texts[part.thought ? "thought" : "text"] += part.text;
      if (part.functionCall) calls.push(part.functionCall);
    }
    last = chunk;
  }
  return [texts, calls, last.candidates[0].finishReason, last.usageMetadata.totalTokenCount];
}

const scenes = {
  whole: async () => parts(await ai.models.generateContent({ model, contents: "hi" })),
  wholeSecret: async () =>
    parts(await ai.models.generateContent({ model, contents: "secret", config })),
  streamed: async () => joined(await ai.models.generateContentStream({ model, contents: "hi" })),
  streamedSecret: async () =>
    joined(await ai.models.generateContentStream({ model, contents: "secret", config })),
  functionStreamed: async () =>
    joined(
      await ai.models.generateContentStream({
        model,
        contents: "secret please",
        config: { tools },
      }),
    ),
  chat: async () => {
    const chat = ai.chats.create({ model });
    return [
      await joined(await chat.sendMessageStream({ message: "secret" })),
      chat.getHistory().length,
    ];
  },
  embeddings: async () => (await ai.models.embedContent({ model, contents: ["a"] })).embeddings,
  countTokens: async () => (await ai.models.countTokens({ model, contents: "hi" })).totalTokens,
  overloaded: () =>
    ai.models
      .generateContent({ model, contents: "overload" })
      .catch((error) => [error.constructor.name, error.status]),
};

const results = {};
for (const [name, scene] of Object.entries(scenes)) results[name] = await scene();
process.stdout.write(JSON.stringify(results));
