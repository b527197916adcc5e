// OpenAI's SDK for JavaScript, as its environment tells it where and with which key.
import { createRequire } from "node:module";

const [packages] = process.argv.slice(2);
const OpenAI = createRequire(`${packages}/`)("openai");
const client = new OpenAI({ maxRetries: 0, timeout: 20_000 });
const ask = { model: "gpt-test", messages: [{ role: "user", content: "hi" }] };

const whole = async () => (await client.chat.completions.create(ask)).choices[0].message.content;

async function streamed() {
  const pieces = [];
  for await (const chunk of await client.chat.completions.create({ ...ask, stream: true }))
    pieces.push(chunk.choices[0]?.delta.content);
  return pieces;
}

const results = {
  whole: await whole(),
  streamed: await streamed(),
  "at-once": await Promise.all([whole(), whole(), whole(), whole()]),
  embedding: (await client.embeddings.create({ model: "gpt-test", input: "hi" })).data[0].embedding
    .length,
  "no-such-model": await client.chat.completions
    .create({ ...ask, model: "gpt-none" })
    .catch((error) => [error.constructor.name, error.status, error.code]),
};
process.stdout.write(JSON.stringify(results));
