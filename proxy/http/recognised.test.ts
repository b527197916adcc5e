import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { recogniseHttp } from "../../policy/http/recognise.ts";
import { readHead } from "./head.ts";
import { RecognisedMemory } from "./recognised.ts";

const anyRequest = fc.record({
  host: fc.constantFrom("a.example", "b.example"),
  method: fc.constantFrom("GET", "POST"),
  target: fc.constantFrom("/v1/orders", "/v1/orders?page=2", "/v1/a%2fb", "/v1//x"),
  headers: fc.subarray(
    [
      ["content-type", "application/json"],
      ["content-type", "text/plain"],
      ["content-length", "7"],
      ["x-http-method-override", "DELETE"],
      ["x-original-url", "/admin"],
      ["x-trace", "1"],
      ["destination", "/v1/other"],
    ],
    { maxLength: 3 },
  ),
});

test("whatever was asked before, a request is recognised as it would be alone", () => {
  fc.assert(
    fc.property(fc.array(anyRequest, { maxLength: 30 }), (requests) => {
      const memory = new RecognisedMemory();
      for (const { host, method, target, headers } of requests) {
        const head = readHead(method, target, ["host", host, ...headers.flat()]);
        assert.deepEqual(
          memory.of(host, head),
          recogniseHttp({ method, host, target: head.target, headers: head.all }),
        );
      }
    }),
  );
});

test("a client that repeats a request asks for the same operation, whatever else its headers say", () => {
  const memory = new RecognisedMemory();
  const ask = (...headers: string[]) =>
    memory.of("h", readHead("POST", "/v1/chat", ["host", "h", ...headers]));
  const first = ask("content-type", "application/json", "content-length", "10");
  assert.equal(ask("content-type", "application/json", "content-length", "11"), first);
  assert.notEqual(ask("content-type", "text/plain", "content-length", "11"), first);
});
