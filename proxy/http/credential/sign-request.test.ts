import assert from "node:assert/strict";
import { test } from "node:test";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";

import type { AwsLease } from "../../../contract/control.ts";
import { readHead } from "../head.ts";
import { encodedLength } from "./aws-chunked.ts";
import { sha256 } from "./sigv4.ts";
import { signRequest } from "./sign-request.ts";
import type { Sendable } from "./sign-request.ts";
import { decidedHead } from "./target.ts";

const lease: AwsLease = {
  kind: "awsSigV4",
  service: "s3",
  region: "eu-central-1",
  accessKeyId: "AKIDEXAMPLE",
  secretAccessKey: "secret",
  sessionToken: "session",
  payload: "Signed",
};
const now = Date.parse("2026-11-20T10:00:07Z");

function signed(
  request: Partial<Sendable>,
  more: Partial<AwsLease> = {},
  length?: number,
): ReturnType<typeof signRequest> {
  return signRequest(
    { method: "PUT", path: "/bucket/a", headers: [], body: null, length, ...request },
    { lease: { ...lease, ...more }, authority: "s3.example", now },
  );
}

function fields(headers: readonly string[]): Record<string, string> {
  const result: Record<string, string> = {};
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at] ?? "";
    assert.ok(!Object.hasOwn(result, name), `${name} stands once`);
    result[name] = headers[at + 1] ?? "";
  }
  return result;
}

const placeholders = [
  "x-amz-date",
  "20200101T000000Z",
  "x-amz-content-sha256",
  "UNSIGNED-PAYLOAD",
  "x-amz-region-set",
  "*",
  "x-amz-meta-a",
  "1",
  "Content-Type",
  "text/plain",
  "range",
  "b",
];

test("what the agent's SDK signed goes, ours covers the rest of AWS's headers and the body", async () => {
  const body = Buffer.from("hello");
  const sent = await signed({ headers: placeholders, body });
  const { authorization, ...rest } = fields(sent.headers);
  assert.deepEqual(rest, {
    "x-amz-meta-a": "1",
    "content-type": "text/plain",
    range: "b",
    "x-amz-date": "20261120T100007Z",
    "x-amz-content-sha256": sha256(body),
    "x-amz-security-token": "session",
  });
  assert.match(
    authorization ?? "",
    /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/20261120\/eu-central-1\/s3\/aws4_request, SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-meta-a;x-amz-security-token, Signature=[0-9a-f]{64}$/,
  );
  assert.equal(sent.body, body);
});

test("a body that streams to s3 with a known length is signed chunk by chunk, with the length of what is sent", async () => {
  const bytes = Buffer.alloc(100_000, "x");
  const headers = ["content-encoding", "gzip"];
  const sent = await signed({ body: Readable.from([bytes]), headers }, {}, bytes.length);
  const { authorization: _, ...rest } = fields(sent.headers);
  assert.deepEqual(rest, {
    "content-encoding": "aws-chunked,gzip",
    "x-amz-decoded-content-length": "100000",
    "x-amz-date": "20261120T100007Z",
    "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "x-amz-security-token": "session",
  });
  assert.equal(sent.length, encodedLength(bytes.length));
  assert.ok(sent.body instanceof Readable);
  assert.equal((await buffer(sent.body)).length, encodedLength(bytes.length));
});

test("what an SDK framed as aws-chunked is sent in the service's own form, without its signatures and checksums", async () => {
  const wire = Buffer.from(
    "5;chunk-signature=ab\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n",
  );
  const headers = [
    "content-encoding",
    "aws-chunked",
    "x-amz-decoded-content-length",
    "5",
    "x-amz-content-sha256",
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "x-amz-trailer",
    "x-amz-checksum-crc32",
    "x-amz-sdk-checksum-algorithm",
    "CRC32",
  ];
  for (const body of [wire, Readable.from([wire])]) {
    const toS3 = await signed({ headers, body });
    const said = fields(toS3.headers);
    assert.equal(said["content-encoding"], "aws-chunked");
    assert.equal(said["x-amz-trailer"], undefined);
    assert.equal(said["x-amz-sdk-checksum-algorithm"], undefined);
    assert.ok(toS3.body instanceof Readable);
    assert.match(String(await buffer(toS3.body)), /^5;chunk-signature=[0-9a-f]{64}\r\nhello\r\n0;/);
  }
  const elsewhere = await signed({ headers, body: wire }, { service: "es" });
  assert.deepEqual(elsewhere.body, Buffer.from("hello"));
  assert.equal(fields(elsewhere.headers)["content-encoding"], undefined);
  assert.equal(fields(elsewhere.headers)["x-amz-content-sha256"], sha256("hello"));
});

test("where no chunks are taken a stream is held until it is whole, within a bound, and Unsigned leaves it to TLS", async () => {
  const es = { service: "es" } as const;
  const held = await signed({ body: Readable.from([Buffer.from("a"), Buffer.from("b")]) }, es);
  assert.deepEqual(held.body, Buffer.from("ab"));
  const huge = (): Readable =>
    Readable.from(Array.from({ length: 70 }, () => Buffer.alloc(65_536)));
  await assert.rejects(signed({ body: huge() }, es), { code: "TooLarge", message: /Unsigned/ });
  const unsigned = await signed({ body: huge() }, { ...es, payload: "Unsigned" }, 70 * 65_536);
  assert.equal(fields(unsigned.headers)["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
  assert.equal(unsigned.length, 70 * 65_536);
  const unknown = await signed({ body: huge() }, { payload: "Unsigned" });
  assert.equal(unknown.length, undefined);
});

test("a path that AWS would read in another way is refused, but for s3, whose keys may hold anything", async () => {
  for (const path of ["/a//b", "/a/./b", "/a/..", "/../a?x=1", "/a/.."]) {
    await assert.rejects(signed({ path }, { service: "execute-api" }), {
      code: "MalformedRequest",
    });
    await signed({ path });
  }
  await signed({ path: "/a/b/?x=//" }, { service: "execute-api" });
});

test("a signature of the agent's own in the query goes before anything is decided", () => {
  const target =
    "/a?X-Amz-Algorithm=1&x-id=GetObject&X-Amz-Credential=2&X-Amz-Date=3&X-Amz-Expires=4&X-Amz-SignedHeaders=5&X-Amz-Signature=6&X-Amz-Security-Token=7&signature=8";
  const head = readHead("GET", target, ["Host", "a"]);
  assert.equal(decidedHead(head, lease).target, "/a?x-id=GetObject&signature=8");
});
