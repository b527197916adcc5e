import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, connect } from "node:net";
import type { Socket } from "node:net";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { BodyWriter } from "./upstream-body.ts";
import type { BodyEnd } from "./upstream-body.ts";

const chunked: BodyEnd = { length: undefined, trailers: undefined };

async function pair(t: TestContext): Promise<{ ours: Socket; theirs: Socket }> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  const ours = connect(address.port, "127.0.0.1");
  const [theirs] = (await once(server, "connection")) as [Socket];
  t.after(() => {
    ours.destroy();
    theirs.destroy();
    server.close();
  });
  return { ours, theirs };
}

async function written(
  t: TestContext,
  length: number | undefined,
  pieces: readonly string[],
  trailers?: BodyEnd["trailers"],
): Promise<{ text: string; failure: Error | undefined; isWhole: boolean }> {
  const { ours, theirs } = await pair(t);
  const body = new PassThrough();
  const end: BodyEnd = { length, trailers };
  let failure: Error | undefined;
  const writer = new BodyWriter(ours, body, end, (error) => (failure = error));
  writer.start();
  for (const piece of pieces) {
    body.write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  body.end();
  await once(body, "close");
  ours.end();
  let text = "";
  for await (const chunk of theirs) text += String(chunk);
  return { text, failure, isWhole: writer.isWhole };
}

test("a body of unknown length goes in chunks, with an end", async (t) => {
  const { text, failure, isWhole } = await written(t, undefined, ["hello", "x".repeat(20)]);
  assert.equal(text, `5\r\nhello\r\n14\r\n${"x".repeat(20)}\r\n0\r\n\r\n`);
  assert.deepEqual([failure, isWhole], [undefined, true]);
});

test("what follows the body stands in its last chunk, asked for once all of it was read; what cannot stand there ends the body without one", async (t) => {
  let asked = 0;
  const { text, isWhole } = await written(t, undefined, ["hello"], () => {
    asked += 1;
    return ["x-sum", "1", "x-two", "2"];
  });
  assert.equal(text, "5\r\nhello\r\n0\r\nx-sum: 1\r\nx-two: 2\r\n\r\n");
  assert.deepEqual([asked, isWhole], [1, true]);
  const refused = (): never => {
    throw new Error("not these");
  };
  for (const trailers of [refused, () => ["x-a", "1\r\nx-b: 2"]]) {
    const broken = await written(t, undefined, ["hello"], trailers);
    assert.equal(broken.text, "5\r\nhello\r\n");
    assert.match(broken.failure?.message ?? "", /not these|cannot be written/);
    assert.ok(!broken.isWhole);
  }
});

test("a body of known length goes as it is, and one that is not as long fails", async (t) => {
  assert.deepEqual(await written(t, 5, ["he", "llo"]), {
    text: "hello",
    failure: undefined,
    isWhole: true,
  });
  for (const pieces of [["hell"], ["hello!"]]) {
    const { failure, isWhole } = await written(t, 5, pieces);
    assert.match(failure?.message ?? "", /not as long as its Content-Length/);
    assert.ok(!isWhole);
  }
});

test("a body that breaks off never gets an end, and one that is stopped says no more", async (t) => {
  const { ours, theirs } = await pair(t);
  let text = "";
  theirs.on("data", (chunk) => (text += String(chunk)));
  const body = new PassThrough();
  const failures: Error[] = [];
  const writer = new BodyWriter(ours, body, chunked, (error) => failures.push(error));
  writer.start();
  body.write("hello");
  await new Promise((resolve) => setImmediate(resolve));
  body.destroy(new Error("gone"));
  await new Promise((resolve) => body.once("close", resolve));
  assert.deepEqual(
    failures.map(({ message }) => message),
    ["gone"],
  );
  const other = new PassThrough();
  const stopped = new BodyWriter(ours, other, chunked, (error) => failures.push(error));
  stopped.start();
  stopped.stop();
  other.end("more");
  ours.end();
  await once(theirs, "end");
  assert.equal(text, "5\r\nhello\r\n");
  assert.equal(failures.length, 1);
});
