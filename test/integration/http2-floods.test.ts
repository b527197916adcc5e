// What one HTTP/2 connection can be made to cost: every flood ends it with the code that says why, within bounded memory, and no other hears of it.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { constants } from "node:http2";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { eventually } from "./http-proxy-fixture.ts";
import { ask, h2Name, startH2Room } from "./http2-fixture.ts";
import type { H2Room } from "./http2-fixture.ts";
import { H2Wire, block, flag, frame, frameType } from "./http2-frames.ts";
import type { Field } from "./http2-frames.ts";

const { NGHTTP2_CANCEL, NGHTTP2_ENHANCE_YOUR_CALM } = constants;
const get: readonly Field[] = [
  [":method", "GET"],
  [":scheme", "https"],
  [":path", "/"],
  [":authority", h2Name],
];
/** What a flood may add to the process, its own buffers in the test among it. */
const memoryBound = 96 * 1024 * 1024;

async function room(t: TestContext): Promise<H2Room> {
  const server = createServer((request, response) => {
    if (request.url === "/large") response.end(Buffer.alloc(1024 * 1024));
    else if (request.url !== "/never") response.end("ok");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return startH2Room(t, [{ upstream: { port: address.port } }]);
}

interface Flood {
  readonly title: string;
  /** Bytes of one round; told the number of the round. */
  readonly round: (at: number) => Buffer;
  readonly before?: (wire: H2Wire) => void;
  /** Codes that GOAWAY may carry; with several, the first that notices decides. */
  readonly codes: readonly number[];
  /** nghttp2 gives a connection up without a word when a thousand acknowledgements come to wait within one read. */
  readonly mayBeSilent?: boolean;
}

const four = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const repeat = (times: number, make: (at: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: times }, (_, at) => make(at)));
const odd = (at: number): number => 2 * at + 1;
const request = (stream: number, endsStream = true): Buffer =>
  frame(frameType.headers, flag.endHeaders | (endsStream ? flag.endStream : 0), stream, block(get));
const post = (stream: number): Buffer =>
  frame(
    frameType.headers,
    flag.endHeaders,
    stream,
    block([[":method", "POST"], ...get.slice(1, 2), [":path", "/never"], ...get.slice(3)]),
  );

const calm = [NGHTTP2_ENHANCE_YOUR_CALM];

const floods: readonly Flood[] = [
  {
    title: "SETTINGS (CVE-2019-9515)",
    mayBeSilent: true,
    round: () => repeat(100, () => frame(frameType.settings, 0, 0)),
    codes: calm,
  },
  {
    title: "SETTINGS that ask for another window each time",
    mayBeSilent: true,
    round: (at) =>
      repeat(100, (one) =>
        frame(
          frameType.settings,
          0,
          0,
          Buffer.concat([Buffer.from([0, 4]), four(65_535 + at * 100 + one)]),
        ),
      ),
    codes: calm,
  },
  {
    title: "PING (CVE-2019-9512)",
    mayBeSilent: true,
    round: () => repeat(100, () => frame(frameType.ping, 0, 0, Buffer.alloc(8))),
    codes: calm,
  },
  {
    title: "rapid reset (CVE-2023-44487)",
    round: (at) =>
      repeat(100, (one) =>
        Buffer.concat([
          request(odd(at * 100 + one)),
          frame(frameType.reset, 0, odd(at * 100 + one), four(NGHTTP2_CANCEL)),
        ]),
      ),
    codes: [NGHTTP2_ENHANCE_YOUR_CALM, constants.NGHTTP2_INTERNAL_ERROR],
  },
  {
    title: "CONTINUATION without an end (CVE-2024-27316)",
    before: (wire) => wire.write(frame(frameType.headers, 0, 1, block(get))),
    round: () => repeat(16, () => frame(frameType.continuation, 0, 1, block([["x", "y"]]))),
    codes: [NGHTTP2_ENHANCE_YOUR_CALM, constants.NGHTTP2_INTERNAL_ERROR],
  },
  {
    title: "empty DATA (CVE-2019-9518)",
    before: (wire) => wire.write(post(1)),
    round: () => repeat(500, () => frame(frameType.data, 0, 1)),
    // Node counts these among the frames that make no sense, and ends with what it says of those.
    codes: [NGHTTP2_ENHANCE_YOUR_CALM, constants.NGHTTP2_INTERNAL_ERROR],
  },
  {
    title: "DATA of padding alone",
    before: (wire) => wire.write(post(1)),
    round: () =>
      repeat(100, () =>
        frame(
          frameType.data,
          flag.padded,
          1,
          Buffer.concat([Buffer.from([255]), Buffer.alloc(255)]),
        ),
      ),
    codes: [NGHTTP2_ENHANCE_YOUR_CALM, constants.NGHTTP2_FLOW_CONTROL_ERROR],
  },
  {
    title: "HEADERS without a field (CVE-2019-9516)",
    round: (at) =>
      repeat(100, (one) =>
        frame(frameType.headers, flag.endHeaders | flag.endStream, odd(at * 100 + one)),
      ),
    codes: [NGHTTP2_ENHANCE_YOUR_CALM, constants.NGHTTP2_INTERNAL_ERROR],
  },
  {
    title: "PRIORITY of streams that never were (CVE-2019-9513)",
    round: (at) =>
      repeat(500, (one) =>
        frame(
          frameType.priority,
          0,
          odd(at * 500 + one),
          Buffer.concat([four(0), Buffer.from([15])]),
        ),
      ),
    codes: calm,
  },
  {
    title: "WINDOW_UPDATE without need",
    round: () => repeat(500, () => frame(frameType.windowUpdate, 0, 0, four(1))),
    codes: calm,
  },
  {
    title: "frames of unknown types",
    round: () => repeat(100, () => frame(0x77, 0, 0, Buffer.alloc(64))),
    codes: calm,
  },
];

for (const { title, round, before, codes, mayBeSilent } of floods) {
  test(`a flood of ${title} ends its connection and no other`, async (t) => {
    const at = await room(t);
    const bystander = at.connect();
    assert.equal((await ask(bystander, {})).text, "ok");
    const wire = new H2Wire(await at.socket());
    wire.open();
    before?.(wire);
    const rss = process.memoryUsage().rss;
    const started = performance.now();
    for (let sent = 0; !wire.isClosed && wire.goaway === undefined; sent += 1) {
      assert.ok(performance.now() - started < 30_000, "it goes on for too long");
      if (!wire.write(round(sent))) await wire.drained();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await wire.until("closed", () => false);
    const { goaway } = wire;
    assert.ok(
      goaway === undefined
        ? mayBeSilent === true || wire.failure !== undefined
        : codes.includes(goaway),
      `GOAWAY ${goaway}`,
    );
    const grown = process.memoryUsage().rss - rss;
    assert.ok(grown < memoryBound, `${Math.round(grown / 1_048_576)} MiB more`);
    await eventually("it is recorded", () => at.refusals.length > 0);
    assert.ok(["LimitExceeded", "MalformedRequest"].includes(at.refusals[0]?.code ?? ""));
    assert.equal((await ask(bystander, {})).text, "ok");
  });
}

test("a head that unpacks to far more than it weighs is refused, and the connection stays", async (t) => {
  const at = await room(t);
  const wire = new H2Wire(await at.socket());
  wire.open();
  // One long field into the dynamic table, then named 4,000 times by one octet each (RFC 7541 section 6.1).
  const field = Buffer.concat([
    Buffer.from([0x40, 1]),
    Buffer.from("x"),
    Buffer.from([0x7f, 0x81, 0x1e]),
    Buffer.alloc(4_000, "b"),
  ]);
  const bomb = Buffer.concat([block(get), field, Buffer.alloc(4_000, 0xbe)]);
  wire.write(frame(frameType.headers, flag.endHeaders | flag.endStream, 1, bomb));
  await wire.until("refused", () => wire.resetOf(1) !== undefined || wire.goaway !== undefined);
  assert.equal(wire.resetOf(1), NGHTTP2_ENHANCE_YOUR_CALM);
  wire.headers(3, get);
  await wire.until("answered", () =>
    wire.frames.some(({ type, stream }) => type === 0 && stream === 3),
  );
  assert.ok(!wire.isClosed);
});

test("answers that a client asks for and does not take wait at the upstream, not here", async (t) => {
  const at = await room(t);
  const wire = new H2Wire(await at.socket());
  // No stream may send a byte.
  wire.open([[4, 0]]);
  const rss = process.memoryUsage().rss;
  const large: readonly Field[] = [...get.slice(0, 2), [":path", "/large"], ...get.slice(3)];
  for (let stream = 0; stream < 100; stream += 1) wire.headers(odd(stream), large);
  await wire.until(
    "every head",
    () => wire.frames.filter(({ type }) => type === frameType.headers).length === 100,
    30_000,
  );
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.ok(!wire.frames.some(({ type }) => type === frameType.data));
  const grown = process.memoryUsage().rss - rss;
  // 100 answers of 1 MiB: what waits here is a fraction of each.
  assert.ok(grown < memoryBound, `${Math.round(grown / 1_048_576)} MiB more`);
  assert.equal((await ask(at.connect(), {})).text, "ok");
});

test("more streams than are allowed at once are refused unseen, and those that are open go on", async (t) => {
  const at = await room(t);
  const wire = new H2Wire(await at.socket());
  wire.open();
  const never: readonly Field[] = [...get.slice(0, 2), [":path", "/never"], ...get.slice(3)];
  for (let stream = 0; stream < 1_030; stream += 1) wire.headers(odd(stream), never);
  await wire.until("refused", () => wire.resetOf(odd(1_029)) !== undefined, 30_000);
  assert.equal(wire.resetOf(odd(1_029)), constants.NGHTTP2_REFUSED_STREAM);
  assert.equal(wire.resetOf(odd(1_023)), undefined);
  assert.equal(wire.goaway, undefined);
});
