import assert from "node:assert/strict";
import { PassThrough, Readable } from "node:stream";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { StreamMessage } from "../../contract/control.ts";
import { ManualClock, settled } from "./fixture.ts";
import { lines, maxLineBytes, OperatorStream, silenceMs } from "./stream.ts";

async function read(chunks: readonly Buffer[]): Promise<string[]> {
  const found: string[] = [];
  for await (const line of lines(Readable.from(chunks), () => undefined)) found.push(line);
  return found;
}

describe("lines of a stream", () => {
  it("are the same wherever the bytes are split, also inside a character", async () => {
    const text = fc
      .string({ unit: "grapheme" })
      .map((part) => part.replace(/[\r\n]/g, ""))
      .filter((part) => part.trim() !== "");
    await fc.assert(
      fc.asyncProperty(
        fc.array(text, { maxLength: 8 }),
        fc.array(fc.nat(400), { maxLength: 12 }),
        async (parts, cuts) => {
          const bytes = Buffer.from(parts.map((part) => `${part}\n`).join(""));
          const at = [...new Set(cuts.map((cut) => Math.min(cut, bytes.length)))].sort(
            (a, b) => a - b,
          );
          const chunks = [...at, bytes.length].map((end, index) =>
            bytes.subarray(at[index - 1] ?? 0, end),
          );
          assert.deepEqual(await read(chunks), parts);
        },
      ),
    );
  });

  it("are not read without bound", async () => {
    await assert.rejects(
      read(Array.from({ length: 10 }, () => Buffer.alloc(maxLineBytes / 4, "x"))),
      /longer than/,
    );
  });

  it("that were cut off are not messages", async () => {
    assert.deepEqual(await read([Buffer.from('{"a":1}\n{"b":')]), ['{"a":1}']);
  });
});

describe("the operator's stream", () => {
  function harness(): {
    clock: ManualClock;
    stream: OperatorStream;
    bodies: PassThrough[];
    messages: StreamMessage[];
    problems: unknown[];
    fail: { with: Error | undefined };
  } {
    const clock = new ManualClock();
    const bodies: PassThrough[] = [];
    const messages: StreamMessage[] = [];
    const problems: unknown[] = [];
    const fail: { with: Error | undefined } = { with: undefined };
    const stream = new OperatorStream({
      async open(signal) {
        if (fail.with !== undefined) throw fail.with;
        const body = new PassThrough();
        signal.addEventListener("abort", () => body.destroy(new Error("cut")), { once: true });
        bodies.push(body);
        return body;
      },
      onMessage: (message) => void messages.push(message),
      onProblem: (error) => void problems.push(error),
      clock,
      random: () => 0,
    });
    return { clock, stream, bodies, messages, problems, fail };
  }
  const hello = '{"type":"hello","version":1,"requires":[],"generation":1}\n';
  const ping = '{"type":"ping","generation":1}\n';

  it("is opened again at once when it ended in order, and with growing pauses when it cannot be opened", async () => {
    const { clock, stream, bodies, fail } = harness();
    stream.start();
    await settled();
    bodies[0]?.end(hello);
    await clock.advance(0);
    assert.equal(bodies.length, 2);
    fail.with = new Error("no");
    bodies[1]?.destroy();
    await clock.advance(60_000);
    fail.with = undefined;
    await clock.advance(10_000);
    assert.equal(bodies.length, 3);
    await stream.close();
  });

  it("is taken for dead after 15 s of silence, and not before", async () => {
    const { clock, stream, bodies, problems } = harness();
    stream.start();
    await settled();
    bodies[0]?.write(hello);
    await clock.advance(silenceMs - 1);
    bodies[0]?.write(ping);
    await clock.advance(silenceMs - 1);
    assert.equal(problems.length, 0);
    assert.equal(stream.silentForMs, silenceMs - 1);
    await clock.advance(1);
    assert.match(String(problems[0]), /silent for 15000 ms/);
    await clock.advance(1_000);
    assert.equal(bodies.length, 2);
    await stream.close();
  });

  it("skips messages it does not know, and is opened again after one that is broken", async () => {
    const { clock, stream, bodies, messages, problems } = harness();
    stream.start();
    await settled();
    bodies[0]?.write(`${hello}{"type":"news","generation":2}\n${ping}not json\n`);
    await clock.advance(1_000);
    assert.deepEqual(
      messages.map(({ type }) => type),
      ["hello", "ping"],
    );
    assert.match(String(problems[0]), /not JSON/);
    assert.equal(bodies.length, 2);
    await stream.close();
    assert.equal(clock.pending, 0);
  });
});
