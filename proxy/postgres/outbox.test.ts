import assert from "node:assert/strict";
import { Duplex } from "node:stream";
import { test } from "node:test";
import { Outbox } from "./outbox.ts";

/** A peer that takes a write when it is told to. */
class Slow extends Duplex {
  readonly taken: Buffer[] = [];
  #done: (() => void) | undefined;

  override _write(bytes: Buffer, _encoding: string, done: () => void): void {
    this.taken.push(Buffer.from(bytes));
    this.#done = done;
  }

  override _read(): void {}

  accept(): void {
    const done = this.#done;
    this.#done = undefined;
    done?.();
  }
}

test("an outbox is empty only when its socket has let go of the last byte, so that nothing is written over before", () => {
  const socket = new Slow();
  const outbox = new Outbox(socket);
  assert.equal(outbox.empty, true);
  const chunk = Buffer.from("first and second");
  outbox.pass(chunk, 0, 5);
  assert.equal(outbox.empty, false);
  outbox.flush();
  assert.equal(outbox.empty, false);
  outbox.pass(chunk, 10, 16);
  outbox.flush();
  socket.accept();
  assert.equal(outbox.empty, false);
  socket.accept();
  assert.equal(outbox.empty, true);
  assert.equal(Buffer.concat(socket.taken).toString(), "firstsecond");
});

test("neighbouring ranges leave as one write, and a whole chunk as it is", () => {
  const socket = new Slow();
  const outbox = new Outbox(socket);
  const chunk = Buffer.from("bind, execute, sync");
  outbox.pass(chunk, 0, 6);
  outbox.pass(chunk, 6, 15);
  outbox.pass(chunk, 15, 19);
  outbox.flush();
  assert.deepEqual(socket.taken.map(String), ["bind, execute, sync"]);
  assert.equal(outbox.written, chunk.length);
});
