import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import type { ServerHttp2Stream } from "node:http2";
import { test } from "node:test";

import { H2Inbound } from "./h2-inbound.ts";

const nobody = { piece() {}, unread() {}, answered() {}, closed() {} };

/** A stream whose client takes nothing until it is told to. */
class Stuck extends EventEmitter {
  readonly closed = false;
  readonly destroyed = false;
  readonly writableEnded = false;
  readonly endAfterHeaders = true;
  readonly #waiting: { readonly bytes: number; readonly written: () => void }[] = [];
  writableLength = 0;

  push(): boolean {
    return true;
  }

  respond(): void {}

  write(chunk: Buffer, written: () => void): void {
    this.writableLength += chunk.length;
    this.#waiting.push({ bytes: chunk.length, written });
  }

  takeAll(): void {
    for (const { bytes, written } of this.#waiting.splice(0)) {
      this.writableLength -= bytes;
      written();
    }
  }
}

test("crumbs of an answer that its client does not take hold the upstream back long before their bytes do, and what is taken lets it go on", () => {
  const stream = new Stuck();
  const inbound = new H2Inbound(stream as unknown as ServerHttp2Stream, [], true, nobody);
  let drained = 0;
  inbound.events = { drained: () => (drained += 1), gone() {}, broken() {} };
  inbound.begin(200, []);
  let crumbs = 0;
  while (inbound.write(Buffer.from("x"))) assert.ok((crumbs += 1) < 1_000, "it goes on");
  assert.ok(crumbs > 50, `${crumbs}`);
  stream.takeAll();
  assert.equal(drained, 1);
  assert.ok(inbound.write(Buffer.alloc(16_384)));
  assert.ok(!inbound.write(Buffer.alloc(16_384)));
});
