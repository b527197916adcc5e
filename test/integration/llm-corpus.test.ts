// Tricks with JSON, one by one through the room: refused in the provider's own shape, or read by every server as what was decided on.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { IncomingHttpHeaders } from "node:http";
import { test } from "node:test";

import fc from "fast-check";

import { recogniseHttp } from "../../policy/http/recognise.ts";
import { openAi } from "../../policy/llm/openai/provider.ts";
import { recogniseLlm } from "../../policy/llm/recognise.ts";
import { settledJson } from "../../proxy/http/request-text.ts";
import { modelOf, readers } from "../corpus/llm/readers.ts";
import { denied, trickyRequests } from "../corpus/llm/requests.ts";
import type { TrickyRequest } from "../corpus/llm/requests.ts";
import { allowAll, send, startRoom } from "./http-proxy-fixture.ts";

const http = recogniseHttp({
  method: "POST",
  host: "api.openai.com",
  target: "/v1/chat/completions",
  headers: { "content-type": "application/json" },
});

interface Arrived {
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

test("every trick with JSON is refused, or read by every server as it was decided", async (t) => {
  const arrived: Arrived[] = [];
  const upstream = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      arrived.push({ headers: request.headers, body: Buffer.concat(chunks) });
      response.end("{}");
    });
  });
  await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
  t.after(() => void upstream.close());
  const address = upstream.address();
  assert.ok(typeof address === "object" && address !== null);
  const room = await startRoom(t, [
    {
      protocol: "openai",
      upstream: { port: address.port, basePath: "/v1" },
      rules: [allowAll, { name: "never", action: "Deny", llm: { models: [denied] } }],
    },
  ]);
  for (const entry of trickyRequests)
    await t.test(entry.name, async () => {
      arrived.length = 0;
      const operations = room.operations().length;
      const answer = await send(room, {
        method: "POST",
        path: entry.path ?? "/v1/chat/completions",
        headers: headersOf(entry),
        body: entry.body,
      });
      if (entry.model === undefined) {
        assert.ok([400, 403, 413].includes(answer.status), `${answer.status} ${answer.text}`);
        assert.equal(answer.headers["x-should-retry"], "false");
        const { error }: { error: { message: string; type: string } } = JSON.parse(answer.text);
        assert.equal(error.type, "chaperone_denied");
        assert.ok(error.message.length < 500 && !error.message.includes(denied), error.message);
        assert.equal(arrived.length, 0);
        return;
      }
      assert.equal(answer.status, 200, answer.text);
      const [received] = arrived;
      assert.ok(received);
      assert.equal(received.headers["content-encoding"], undefined);
      assert.match(
        received.headers["content-type"] ?? "",
        /^application\/json(?:; ?charset=utf-8)?$/i,
      );
      const [operation] = room.operations().slice(operations);
      assert.equal(operation?.body.operation?.facts?.["model"], entry.model);
      const ascii = /^[\x20-\x7e]*$/.test(entry.model);
      for (const [reader, read] of Object.entries(readers))
        if (ascii || reader !== "Latin-1")
          assert.equal(modelOf(read(received.body)), entry.model, reader);
    });
});

test("whatever is mixed into the names and values of a request, all readers of what is let through find the same", () => {
  const spelled = (text: string): fc.Arbitrary<string> =>
    fc
      .tuple(
        fc.constantFrom(text, text.toUpperCase(), `${text}\0`, text.replace("o", "\u0585")),
        fc.infiniteStream(fc.boolean()),
      )
      .map(([one, escapes]) => {
        const units = one.split("").map((unit) => {
          const plain = JSON.stringify(unit).slice(1, -1);
          const { value: isEscaped = false } = escapes.next();
          return isEscaped ? `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}` : plain;
        });
        return `"${units.join("")}"`;
      });
  const names = fc.oneof(spelled("model"), spelled("max_tokens"), spelled("stream"), fc.json());
  const values = fc.oneof(
    spelled("gpt-a"),
    spelled("gpt-b"),
    fc.constantFrom(
      "null",
      "7",
      "NaN",
      "1e999",
      "[]",
      '{"model":"gpt-c"}',
      String.raw`"\ud800"`,
      "true",
    ),
  );
  const name = names.map((one) => (one.startsWith('"') ? one : JSON.stringify(one)));
  const body = fc
    .tuple(
      fc.array(fc.tuple(name, values), { maxLength: 4 }),
      fc.constantFrom("", "\ufeff", " "),
      fc.constantFrom("", "\0", "{}", "\n", "//", ",", "}"),
    )
    .map(([members, before, after]) => {
      const own = '"model":"gpt-a","messages":[]';
      const all = [own, ...members.map(([one, value]) => `${one}:${value}`)];
      return `${before}{${all.toSorted().join(",")}}${after}`;
    });
  let read = 0;
  fc.assert(
    fc.property(body, (text) => {
      const bytes = Buffer.from(text);
      const operation = recogniseLlm(openAi, { http, basePath: "/v1", body: bytes });
      if (operation.unrecognised !== undefined) return;
      read += 1;
      const sent = settledJson(bytes);
      for (const [reader, take] of Object.entries(readers))
        if (reader !== "Latin-1")
          assert.equal(modelOf(take(sent)), operation.facts.model, `${reader}: ${text}`);
    }),
    { numRuns: 3_000 },
  );
  assert.ok(read > 100, `${read} were let through`);
});

function headersOf({ headers = {} }: TrickyRequest): Record<string, string> {
  const all = { "content-type": "application/json", ...headers };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== ""));
}
