import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { test } from "node:test";

import { fileDescriptor, openOriginalDestination, readSockaddr } from "./original-destination.ts";

test("the Node that is pinned says which descriptor an accepted socket has", async (t) => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const accepted = once(server, "connection");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const client = connect(address.port, "127.0.0.1");
  const [socket] = await accepted;
  assert.ok(fileDescriptor(socket) > 2);
  // The library is there and libc answers: whether with an address or an error is the kernel's to say.
  if (process.platform === "linux") {
    const read = openOriginalDestination();
    try {
      assert.equal(read(socket).port, address.port);
    } catch (error) {
      assert.match(String(error), /SO_ORIGINAL_DST failed with errno \d+: the connection was not/);
    }
  }
  client.destroy();
  socket.destroy();
});

test("a Node that keeps it elsewhere is told by name, and no destination is guessed", () => {
  for (const socket of [undefined, {}, { _handle: null }, { _handle: { fd: -1 } }, { _handle: {} }])
    assert.throws(() => fileDescriptor(socket), /Node v\d+.* does not say which file descriptor/);
});

test("addresses are read as the kernel writes them", () => {
  const v4 = Buffer.alloc(28);
  v4.writeUInt16LE(2, 0);
  v4.writeUInt16BE(443, 2);
  v4.set([198, 18, 64, 1], 4);
  assert.deepEqual(readSockaddr(v4), { address: "198.18.64.1", port: 443 });
  const v6 = Buffer.alloc(28);
  v6.writeUInt16LE(10, 0);
  v6.writeUInt16BE(5432, 2);
  v6.set([0x20, 1, 0, 2], 8);
  v6.set([0xc6, 0x12, 0x40, 1], 20);
  assert.deepEqual(readSockaddr(v6), { address: "2001:2::c612:4001", port: 5432 });
  assert.throws(() => readSockaddr(Buffer.alloc(28)), /family 0/);
});
