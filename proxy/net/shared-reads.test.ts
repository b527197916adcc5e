import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { SharedReads } from "./shared-reads.ts";

async function pair(t: TestContext): Promise<{ client: Socket; accepted: Socket }> {
  const server = createServer({ allowHalfOpen: true });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  const client = connect(address.port, "127.0.0.1");
  const [accepted] = (await once(server, "connection")) as [Socket];
  t.after(() => {
    client.destroy();
    accepted.destroy();
    server.close();
  });
  return { client, accepted };
}

// Pins what Node does not document: without it connections are read by `data` events, each with 64 KiB of its own.
test("this version of Node lets go of a connection, and its bytes come into the buffer of all", async (t) => {
  const reads = new SharedReads();
  const { client, accepted } = await pair(t);
  const pieces: string[] = [];
  const taken = reads.take(accepted, (chunk) => pieces.push(chunk.toString()));
  assert.ok(taken !== undefined);
  client.write("hello");
  while (pieces.length === 0) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(pieces, ["hello"]);
  taken.write("answer");
  assert.equal(String(await once(client, "data")), "answer");
  const ended = once(taken, "end");
  client.end();
  await ended;
});

test("either socket of a connection that was taken ends with the other", async (t) => {
  const reads = new SharedReads();
  for (const which of ["taken", "accepted"] as const) {
    const { client, accepted } = await pair(t);
    const taken = reads.take(accepted, () => {});
    assert.ok(taken !== undefined);
    const closed = [once(taken, "close"), once(accepted, "close"), once(client, "close")];
    client.on("error", () => {});
    client.resume();
    (which === "taken" ? taken : accepted).destroy();
    await Promise.all(closed);
  }
});

test("a connection that is given back is read at the pace of whoever takes it", async (t) => {
  const reads = new SharedReads();
  const { client, accepted } = await pair(t);
  const taken = reads.take(accepted, () => {});
  assert.ok(taken !== undefined);
  taken.pause();
  const released = reads.release(taken);
  const much = Buffer.alloc(32 * 1024 * 1024, "x");
  client.write(much);
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.ok(released.bytesRead < much.length / 2, `${released.bytesRead} bytes were taken`);
  let length = 0;
  for await (const chunk of released as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length === much.length) break;
  }
  assert.equal(length, much.length);
});
