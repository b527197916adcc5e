import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import type { Endpoint, Lease } from "../../contract/control.ts";
import { overrideHeaders } from "../../policy/http/recognise.ts";
import { claimHeaders, credentialHeaders } from "./credential/reserved.ts";
import type { InboundBody } from "./inbound.ts";
import { sentTrailers, withTrailers } from "./trailers.ts";
import type { Trailing } from "./trailers.ts";

const endpoint: Endpoint = { host: "up", port: 443, tls: { mode: "VerifyFull" }, basePath: "" };
const lease: Lease = { kind: "headers", headers: [{ name: "Private-Thing", value: "real" }] };

function trailing(
  given: Partial<Trailing> & { connection?: string; announced?: string } = {},
): Trailing {
  const { connection, announced } = given;
  return {
    head: { connection, announced },
    grant: { lease, endpoint },
    masked: undefined,
    ...given,
  };
}

function request(
  trailers: readonly string[],
  scheme?: string,
): { body: InboundBody; scheme: string | undefined } {
  const body: InboundBody = {
    length: undefined,
    isComplete: true,
    trailers,
    read() {},
    pause() {},
    resume() {},
  };
  return { body, scheme };
}

const whole = { headers: ["a", "b"], body: Buffer.from("hello"), length: undefined };

test("what means nothing but itself goes on behind a body; credentials, claims, what is ours and what is one hop's do not", () => {
  const dropped = [
    ...credentialHeaders,
    ...claimHeaders,
    "private-thing",
    "private_thing",
    "x-forwarded-for",
    "chaperone-chain",
    "cookie",
    "range",
    "if-range",
    "accept-encoding",
    "keep-alive",
    "proxy-connection",
    "x-mine",
  ];
  assert.deepEqual(
    sentTrailers(
      ["x-sum", "1", ...dropped.flatMap((name) => [name, "v"]), "grpc-x", "2", "x-sum", "3"],
      trailing({ connection: "close, X-Mine" }),
    ),
    ["x-sum", "1", "grpc-x", "2", "x-sum", "3"],
  );
});

for (const name of [
  "content-length",
  "transfer-encoding",
  "host",
  "content-type",
  "te",
  "x_api_key",
  "content.type",
  ...overrideHeaders,
])
  test(`${name} behind a body is refused: somebody would read another request than was decided on`, () =>
    assert.throws(() => sentTrailers([name, "1"], trailing()), { code: "MalformedRequest" }));

test("values behind a body are masked where those of the head are", () => {
  const masked = (fields: string[]): string[] =>
    fields.map((text) => text.replace("secret", "***"));
  assert.deepEqual(sentTrailers(["x-a", "secret"], trailing({ masked })), ["x-a", "***"]);
});

test("a body that is whole goes in chunks where something follows it, and as ever where nothing does", () => {
  const sent = withTrailers(
    whole,
    request(["x-a", "1", "x-a", "2", "authorization", "mine"]),
    trailing(),
  );
  assert.deepEqual(sent.headers, ["a", "b", "trailer", "x-a"]);
  assert.deepEqual(sent.trailers?.(), ["x-a", "1", "x-a", "2"]);
  assert.equal(withTrailers(whole, request(["authorization", "mine"]), trailing()), whole);
  const none = { ...whole, body: null };
  assert.equal(withTrailers(none, request(["x-a", "1"]), trailing()), none);
});

test("of a body that streams those are announced that may follow, and its length gives way to them", () => {
  const streams = { ...whole, body: process.stdin, length: 5 };
  const announced = "X-Sum, Authorization, content-length, bad name,x-sum";
  // HTTP/1.1 has nothing behind a body of a stated length.
  assert.equal(withTrailers(streams, request(["x-sum", "1"]), trailing({ announced })), streams);
  const sent = withTrailers(streams, request(["x-sum", "1"], "https"), trailing({ announced }));
  assert.deepEqual([sent.headers.slice(2), sent.length], [["trailer", "x-sum"], undefined]);
  const unannounced = withTrailers(streams, request(["x-sum", "1"], "https"), trailing());
  assert.deepEqual([unannounced.headers, unannounced.length], [["a", "b"], 5]);
  assert.deepEqual(unannounced.trailers?.(), ["x-sum", "1"]);
});

test("nothing follows what is signed for AWS", () => {
  const aws: Lease = {
    kind: "awsSigV4",
    accessKeyId: "id",
    secretAccessKey: "secret",
    region: "r",
    service: "s3",
    payload: "Signed",
  };
  const grant = { lease: aws, endpoint };
  assert.equal(withTrailers(whole, request(["x-a", "1"]), trailing({ grant })), whole);
});

test("whatever comes behind a body, what goes on is part of it and holds no name of a head's", () => {
  const name = fc.constantFrom(
    "x-a",
    "authorization",
    "x-b",
    "cookie",
    "te2",
    "chaperone-x",
    "forwarded",
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(name, fc.string({ maxLength: 3 }))), (pairs) => {
      const kept = pairs.filter(([one]) => /^(x-[ab]|te2)$/.test(one));
      assert.deepEqual(sentTrailers(pairs.flat(), trailing()), kept.flat());
    }),
  );
});
