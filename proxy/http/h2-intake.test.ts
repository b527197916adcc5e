import assert from "node:assert/strict";
import type { Http2Stream } from "node:http2";
import { test } from "node:test";

import { H2Intake } from "./h2-intake.ts";

interface Piped {
  readonly intake: H2Intake;
  /** As Node would: false when it is told to give nothing of the window back. */
  push(chunk: Buffer | null): boolean;
  /** What was handed on, what reached the stream itself, and what its reader was asked for. */
  readonly heard: string[];
  waiting: number;
  arrived: number;
  isClosed: boolean;
}

function piped(): Piped {
  const heard: string[] = [];
  const stream = {
    closed: false,
    destroyed: false,
    endAfterHeaders: false,
    push: (chunk: Buffer | null) => heard.push(`pushed ${String(chunk)}`) > 0,
    resume: () => void heard.push("flows"),
    _read: () => void heard.push("reads on"),
  };
  const piped_ = {
    heard,
    waiting: 0,
    arrived: 0,
    push: (chunk: Buffer | null) => stream.push(chunk),
    get isClosed() {
      return stream.closed;
    },
    set isClosed(value: boolean) {
      stream.closed = value;
    },
  };
  const intake = new H2Intake(stream as unknown as Http2Stream, {
    arrived: (bytes) => (piped_.arrived += bytes),
    data: (chunk) => void heard.push(chunk.toString()),
    waits: (bytes) => (piped_.waiting += bytes),
  });
  return Object.assign(piped_, { intake });
}

test("what comes in crumbs while nobody takes it is one piece when somebody does, and the window is given back then", () => {
  const at = piped();
  for (const byte of "crumbs") assert.equal(at.push(Buffer.from(byte)), false);
  assert.deepEqual([at.arrived, at.waiting, at.heard], [6, 6, []]);
  at.intake.resume();
  assert.deepEqual(at.heard, ["crumbs", "flows", "reads on"]);
  assert.equal(at.push(Buffer.from("direct")), true);
  at.intake.pause();
  assert.equal(at.push(Buffer.from("waits")), false);
  assert.equal(at.waiting, 5);
  at.intake.resume();
  assert.deepEqual(at.heard.slice(3), ["direct", "waits", "reads on"]);
  assert.equal(at.waiting, 0);
});

test("the end stands behind what waits, and tells a whole message from one that was reset", () => {
  for (const isReset of [false, true]) {
    const at = piped();
    at.intake.resume();
    at.intake.pause();
    at.push(Buffer.from("last"));
    at.isClosed = isReset;
    at.push(null);
    assert.deepEqual(at.heard, ["flows"]);
    assert.equal(at.intake.isWhole, !isReset);
    at.intake.resume();
    assert.deepEqual(at.heard, ["flows", "last", "pushed null"]);
  }
});

test("a stream that closes before anybody read of it ends at once, and what was dropped weighs nothing", () => {
  const at = piped();
  at.push(Buffer.from("unread"));
  at.intake.drop();
  assert.equal(at.waiting, 0);
  at.isClosed = true;
  at.push(null);
  assert.deepEqual(at.heard, ["pushed null"]);
  assert.equal(at.intake.isWhole, false);
});

test("a stream that is given back has what came, in order, and the rest goes to it", () => {
  const at = piped();
  at.push(Buffer.from("first"));
  at.intake.release();
  at.push(Buffer.from("then"));
  at.push(null);
  assert.deepEqual(at.heard, ["pushed first", "pushed then", "pushed null"]);
  assert.equal(at.waiting, 0);
});
