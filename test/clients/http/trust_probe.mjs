// One request of every client of Node, to a name whose certificate only the pod's CA vouches for: true, or the code of the error.
import https from "node:https";
import { createRequire } from "node:module";

const [packages, url] = process.argv.slice(2);
const require = createRequire(`${packages}/`);
const axios = require("axios");
const OpenAI = require("openai");
const Anthropic = require("@anthropic-ai/sdk");

const asks = {
  fetch: async () => (await fetch(`${url}/json`)).ok,
  https: () =>
    new Promise((resolve, reject) => {
      https
        .get(`${url}/json`, (answer) => {
          answer.resume();
          resolve(answer.statusCode === 200);
        })
        .on("error", reject);
    }),
  axios: async () => (await axios.get(`${url}/json`)).status === 200,
  openaiNode: async () =>
    (await new OpenAI({ maxRetries: 0 }).embeddings.create({ model: "gpt-test", input: "hi" })).data
      .length === 1,
  anthropicNode: async () =>
    (
      await new Anthropic({ maxRetries: 0 }).messages.create({
        model: "claude-test",
        max_tokens: 5,
        messages: [{ role: "user", content: "hi" }],
      })
    ).content.length === 1,
};

const results = {};
for (const [name, ask] of Object.entries(asks))
  results[name] = await ask().catch((error) =>
    String(error.code ?? error.cause?.code ?? error.name),
  );
process.stdout.write(JSON.stringify(results), () => process.exit(0));
