// Requests signed for AWS on real sockets: the origin recomputes each signature from the very bytes it received, as the service does.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type { AwsLease } from "../../contract/control.ts";
import { startAuthority } from "./postgres-certificates.ts";
import { awsOrigin, lease, verified } from "./aws-origin.ts";
import { eventually, raw, send, startRoom } from "./http-proxy-fixture.ts";
import type { ConnectionSetup, TestRoom } from "./http-proxy-fixture.ts";

function room(
  t: TestContext,
  port: number,
  more: Partial<ConnectionSetup> = {},
): Promise<TestRoom> {
  return startRoom(t, [{ upstream: { port }, lease, detail: "Full", ...more }]);
}

function assertUnwritten(of: TestRoom, ...further: string[]): void {
  for (const text of [JSON.stringify(of.events()), ...further])
    for (const secret of ["wJalrXUtnFEMI", "session-token", "Signature="])
      assert.ok(!text.includes(secret), secret);
}

const sdk = {
  authorization: "AWS4-HMAC-SHA256 Credential=held-by-chaperone/x, SignedHeaders=host, Signature=0",
  "x-amz-date": "20200101T000000Z",
  "x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  "x-amz-security-token": "placeholder",
};

test("what arrives verifies: no body, a short one, one that streams, queries and keys of any kind", async (t) => {
  const target = await awsOrigin(t);
  const one = await room(t, target.port);
  const bodies = [undefined, "x", Buffer.alloc(60_000, "y"), Buffer.alloc(1_000_000, "z")];
  for (const path of ["/b/k?x-id=PutObject", "/b/a%20b/%C3%A4+(1)'?acl", "/b//k/?a=%2F&b=+&A=1"])
    for (const body of bodies) {
      const answer = await send(one, {
        method: body === undefined ? "GET" : "PUT",
        path,
        headers: { ...sdk, "content-type": "text/plain", "x-amz-meta-note": "  a   b " },
        ...(body === undefined ? {} : { body }),
      });
      assert.equal(answer.status, 200);
      const last = target.received.at(-1);
      assert.ok(last !== undefined);
      assert.deepEqual(verified(last), Buffer.from(body ?? ""));
    }
  assertUnwritten(one);
});

test("an SDK's aws-chunked body, whole or streamed, arrives signed by us, byte for byte what it held", async (t) => {
  const target = await awsOrigin(t);
  const one = await room(t, target.port);
  for (const size of [5, 300_000]) {
    const content = Buffer.alloc(size, "abc");
    const wire = Buffer.concat([
      Buffer.from(`${size.toString(16)}\r\n`),
      content,
      Buffer.from("\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"),
    ]);
    const answer = await send(one, {
      method: "PUT",
      path: "/b/k",
      headers: {
        ...sdk,
        "content-encoding": "aws-chunked",
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-decoded-content-length": size,
        "x-amz-trailer": "x-amz-checksum-crc32",
        "x-amz-sdk-checksum-algorithm": "CRC32",
      },
      body: wire,
    });
    assert.equal(answer.status, 200);
    const last = target.received.at(-1);
    assert.ok(last !== undefined);
    assert.deepEqual(verified(last), content);
  }
});

test("a body that is not the aws-chunked it says is refused, and never reaches the upstream as a whole request", async (t) => {
  const target = await awsOrigin(t);
  const one = await room(t, target.port);
  for (const body of [Buffer.from("9\r\nhello\r\n0\r\n\r\n"), Buffer.alloc(200_000, "x")]) {
    const answer = await send(one, {
      method: "PUT",
      path: "/b/k",
      headers: { ...sdk, "content-encoding": "aws-chunked", "x-amz-decoded-content-length": 9 },
      body,
    });
    assert.equal(answer.status, 400);
    assert.match(answer.text, /MalformedRequest/);
    assertUnwritten(one, answer.text);
  }
  assert.equal(target.received.length, 0);
});

test("other services get bodies whole up to the bound, and above it a refusal that says what to do", async (t) => {
  const target = await awsOrigin(t);
  const of: AwsLease = { ...lease, service: "execute-api" };
  const one = await room(t, target.port, { lease: of });
  const body = Buffer.alloc(2_000_000, "x");
  assert.equal((await send(one, { method: "POST", path: "/prod/a", body })).status, 200);
  const [first] = target.received;
  assert.ok(first !== undefined);
  assert.deepEqual(verified(first, of), body);
  const large = await send(one, { method: "POST", path: "/a", body: Buffer.alloc(5_000_000) });
  assert.equal(large.status, 413);
  assert.match(large.text, /awsSigV4\.payload/);
  const dotted = await raw(one.port, "GET /a//b HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.match(dotted, /^HTTP\/1\.1 400 /);
  assert.equal(target.received.length, 1);
});

test("what arrives over HTTP/2 verifies as well, streamed bodies included", async (t) => {
  const authority = await startAuthority();
  t.after(() => authority.close());
  const { certificatePem, keyPem } = await authority.server();
  const target = await awsOrigin(t, { cert: certificatePem, key: keyPem });
  const tls = { mode: "VerifyFull", ca: authority.caPem } as const;
  for (const payload of ["Signed", "Unsigned"] as const) {
    const of: AwsLease = { ...lease, payload };
    const one = await startRoom(t, [
      { upstream: { port: target.port, host: "localhost" }, endpoint: { tls }, lease: of },
    ]);
    for (const body of ["x", Buffer.alloc(300_000, "y")]) {
      const answer = await send(one, { method: "PUT", path: "/b/k?x=%2F", headers: sdk, body });
      assert.equal(answer.status, 200);
      const last = target.received.at(-1);
      assert.ok(last !== undefined);
      assert.deepEqual(verified(last, of), Buffer.from(body));
    }
  }
});

test("the Host that is signed is the endpoint's, whatever the agent names", async (t) => {
  const target = await awsOrigin(t);
  const one = await room(t, target.port);
  await send(one, { path: "/b", headers: { ...sdk, host: "bucket.s3.amazonaws.com" } });
  const [first] = target.received;
  assert.ok(first !== undefined);
  verified(first);
  assert.ok(first.rawHeaders.includes(`127.0.0.1:${target.port}`));
});

test("an agent that leaves in the middle of a streamed body leaves nothing behind upstream", async (t) => {
  const target = await awsOrigin(t);
  const one = await room(t, target.port);
  await raw(
    one.port,
    `PUT /b/k HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n${"x".repeat(100_000)}`,
    100,
  );
  await eventually("the operation is recorded", () => one.operations().length === 1);
  assert.notEqual(one.operations()[0]?.body.outcome?.status, "ok");
  assert.equal(target.received.length, 0);
});
