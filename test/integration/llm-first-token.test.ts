// A model that says nothing more until the agent has heard what it said: no token waits for the one behind it, masked and recorded or not.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request } from "node:http";
import type { IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { detectorNames } from "../../policy/mask/detectors.ts";
import { eventually, startRoom } from "./http-proxy-fixture.ts";
import type { ConnectionSetup } from "./http-proxy-fixture.ts";

const said = ["The ", "order ", "of ", "Monday ", "is ", "paid. "];
const detectMasks: NonNullable<ConnectionSetup["detectMasks"]> = detectorNames.map((detector) => ({
  detector,
  transform: { kind: "redact" },
  policy: "agents/policy",
}));

interface Provider {
  readonly protocol: "openai" | "anthropic" | "http";
  readonly path: string;
  readonly asked: unknown;
  event(text: string): string;
}

const messages = [{ role: "user", content: "What of my order?" }];
const openAi: Provider = {
  protocol: "openai",
  path: "/v1/chat/completions",
  asked: { model: "gpt-5", stream: true, messages },
  event: (content) =>
    `data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", model: "gpt-5", choices: [{ index: 0, delta: { content }, finish_reason: null }] })}\n\n`,
};
const anthropic: Provider = {
  protocol: "anthropic",
  path: "/v1/messages",
  asked: { model: "claude", max_tokens: 100, stream: true, messages },
  event: (text) =>
    `event: content_block_delta\ndata: ${JSON.stringify({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text } })}\n\n`,
};
const anyServer: Provider = { ...openAi, protocol: "http", path: "/v1/orders" };

/** Says one token, and the next when it is told to. */
async function startModel(t: TestContext, { event }: Provider) {
  const heard: (() => void)[] = [];
  const server = createServer((asked, answer) => {
    asked.resume();
    answer.writeHead(200, { "content-type": "text/event-stream" });
    const next = (index: number): void => {
      const text = said[index];
      if (text === undefined) answer.end("data: [DONE]\n\n");
      else answer.write(event(text));
      heard[index] = () => next(index + 1);
    };
    next(0);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    port: (server.address() as AddressInfo).port,
    hear: (index: number) => heard[index]?.(),
  };
}

async function ask(port: number, { path, asked }: Provider): Promise<IncomingMessage> {
  const sent = request({
    port,
    path,
    method: "POST",
    headers: { "content-type": "application/json" },
  });
  sent.end(JSON.stringify(asked));
  const [answer] = (await once(sent, "response")) as [IncomingMessage];
  assert.equal(answer.statusCode, 200);
  return answer.setEncoding("utf8");
}

for (const provider of [openAi, anthropic, anyServer])
  for (const masks of [[], detectMasks]) {
    const how = masks.length === 0 ? "as they are" : "masked";
    test(`tokens through \`${provider.protocol}\`, ${how} and recorded in full, reach the agent before the next is made`, async (t) => {
      const model = await startModel(t, provider);
      const room = await startRoom(t, [
        {
          name: "model",
          protocol: provider.protocol,
          detail: "Full",
          detectMasks: masks,
          upstream: { port: model.port, basePath: provider.protocol === "http" ? "" : "/v1" },
        },
      ]);
      const answer = await ask(room.port, provider);
      let shown = "";
      for (const [index, token] of said.entries()) {
        // Without the token the model says no more, and this waits until the test is given up.
        while (!shown.includes(JSON.stringify(token).slice(1, -1)))
          shown += String((await once(answer, "data"))[0]);
        model.hear(index);
      }
      for await (const rest of answer) shown += String(rest);
      assert.match(shown, /data: \[DONE\]/);
      await eventually("it is recorded", () => room.operations().length === 1);
    });
  }
