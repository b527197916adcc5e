// Anthropic's SDK for JavaScript, as its environment tells it where and with which key.
import { createRequire } from "node:module";

const [packages] = process.argv.slice(2);
const Anthropic = createRequire(`${packages}/`)("@anthropic-ai/sdk");
const client = new Anthropic({ maxRetries: 0, timeout: 20_000 });
const ask = { model: "claude-test", max_tokens: 50, messages: [{ role: "user", content: "hi" }] };

async function whole() {
  const answer = await client.messages.create(ask);
  return [answer.content[0].text, answer.usage.output_tokens];
}

async function streamed() {
  const pieces = [];
  const stream = client.messages.stream(ask).on("text", (text) => pieces.push(text));
  return [pieces, (await stream.finalMessage()).stop_reason];
}

const results = {
  whole: await whole(),
  streamed: await streamed(),
  "at-once": await Promise.all([whole(), whole(), whole(), whole()]),
  "no-such-model": await client.messages
    .create({ ...ask, model: "claude-none" })
    .catch((error) => [error.constructor.name, error.status, error.error.error.type]),
};
process.stdout.write(JSON.stringify(results));
