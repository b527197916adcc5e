// Bodies of requests over HTTP/2, however they are cut and whenever they come: what reaches the upstream is what was sent, to the byte.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect } from "node:http2";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { connect as secure } from "node:tls";

import { allowAll, eventually } from "./http-proxy-fixture.ts";
import type { ConnectionSetup } from "./http-proxy-fixture.ts";
import { ask, h2Name, h2Origin, startH2Room } from "./http2-fixture.ts";
import type { H2Room } from "./http2-fixture.ts";
import { H2Wire, block, flag, frame, frameType, preface } from "./http2-frames.ts";
import type { Field } from "./http2-frames.ts";
import { startChild } from "./postgres-proxy-process.ts";

const sizes = [0, 1, 1_024, 16_384, 65_535, 65_536, 200 * 1_024];
/** RFC 9113 section 6.9.2, of the connection and, before SETTINGS say otherwise, of a stream. */
const firstWindow = 65_535;
const largestFrame = 16_384;
/** Nothing here is about time: what takes longer than this, on however busy a machine, never happens. */
const hangsMs = 60_000;
const initialWindowSetting = 4;

const told = (bytes: Buffer, checked?: unknown): string =>
  `${bytes.length} bytes, ${createHash("sha256").update(bytes).digest("hex")}, checked: ${String(checked)}`;

function bodyOf(size: number): Buffer {
  return Buffer.from(Array.from({ length: size }, (_, at) => 97 + (at % 23)));
}

/** Answers with what it got of a request, once that has ended. */
const upstreams: Readonly<
  Record<string, (t: TestContext) => Promise<ConnectionSetup["upstream"]>>
> = {
  "HTTP/1.1": async (t) => {
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () =>
        response.end(told(Buffer.concat(chunks), request.trailers["x-checked"])),
      );
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    const address = server.address();
    assert.ok(address !== null && typeof address === "object");
    return { port: address.port };
  },
  "HTTP/2": async (t) => {
    const origin = await h2Origin(t, (server) =>
      server.on("stream", (stream) => {
        const chunks: Buffer[] = [];
        let checked: unknown;
        stream.on("error", () => {});
        stream.on("data", (chunk: Buffer) => chunks.push(chunk));
        stream.on("trailers", (fields) => (checked = fields["x-checked"]));
        stream.on("end", () => {
          stream.respond({ ":status": 200 });
          stream.end(told(Buffer.concat(chunks), checked));
        });
      }),
    );
    return origin.upstream;
  },
};

function head(stream: number, length: number | undefined, more: readonly Field[] = []): Buffer {
  const fields: Field[] = [
    [":method", "POST"],
    [":scheme", "https"],
    [":path", "/orders"],
    [":authority", h2Name],
    ["content-type", "application/json"],
    ...more,
  ];
  if (length !== undefined) fields.push(["content-length", String(length)]);
  return frame(frameType.headers, flag.endHeaders, stream, block(fields));
}

/** As few frames as there can be, the last of them with END_STREAM. */
function dataOf(stream: number, body: Buffer, endsStream = true): Buffer {
  const frames: Buffer[] = [];
  for (let at = 0; at < body.length || frames.length === 0; at += largestFrame) {
    const isLast = endsStream && at + largestFrame >= body.length;
    const piece = body.subarray(at, at + largestFrame);
    frames.push(frame(frameType.data, isLast ? flag.endStream : 0, stream, piece));
  }
  return Buffer.concat(frames);
}

/** What a peer may send by now, of this stream and of all. */
function windows(wire: H2Wire, stream: number): number {
  let ofStream = firstWindow;
  let ofAll = firstWindow;
  for (const { type, flags, stream: id, payload } of wire.frames) {
    if (type === frameType.settings && (flags & flag.ack) === 0)
      for (let at = 0; at < payload.length; at += 6)
        if (payload.readUInt16BE(at) === initialWindowSetting)
          ofStream += payload.readUInt32BE(at + 2) - firstWindow;
    if (type !== frameType.windowUpdate) continue;
    if (id === 0) ofAll += payload.readUInt32BE(0);
    else if (id === stream) ofStream += payload.readUInt32BE(0);
  }
  return Math.min(ofStream, ofAll);
}

/** Each in a packet of its own, as far as the system lets it. */
async function inPackets(wire: H2Wire, pieces: readonly Buffer[]): Promise<void> {
  for (const piece of pieces) {
    await new Promise((resolve) => wire.socket.write(piece, resolve));
    await turn();
  }
}

async function answerOf(wire: H2Wire, stream: number): Promise<string> {
  const ended = (): boolean =>
    wire.frames.some(
      (one) =>
        one.stream === stream &&
        (one.type === frameType.data || one.type === frameType.headers) &&
        (one.flags & flag.endStream) !== 0,
    );
  await wire.until(
    `stream ${stream} is answered`,
    () => ended() || wire.resetOf(stream) !== undefined,
  );
  const data = wire.frames.filter((one) => one.type === frameType.data && one.stream === stream);
  return Buffer.concat(data.map(({ payload }) => payload)).toString();
}

async function opened(room: H2Room, bytes = opening): Promise<H2Wire> {
  const wire = new H2Wire(await room.socket());
  wire.socket.setNoDelay(true);
  wire.write(bytes);
  return wire;
}

const opening = Buffer.concat([preface, frame(frameType.settings, 0, 0)]);
/** Where a request of one packet is cut in two: in its head, between head and body, in the head of DATA, behind that, in its middle, before its last byte. */
const cuts: Readonly<Record<string, (ofHead: number, ofAll: number) => number>> = {
  nowhere: (_head, all) => all,
  "in the frame of its head": () => 4,
  "in its head": (ofHead) => ofHead - 3,
  "between head and body": (ofHead) => ofHead,
  "in the head of DATA": (ofHead) => ofHead + 5,
  "behind the head of DATA": (ofHead) => ofHead + 9,
  "in the middle of DATA": (ofHead, all) => ofHead + 9 + Math.floor((all - ofHead - 9) / 2),
  "before its last byte": (_head, all) => all - 1,
};

for (const [version, upstream] of Object.entries(upstreams)) {
  for (const [rules, what] of [
    [[allowAll], "that is passed on as it comes"],
    // What a rule could hold is read before it is decided on.
    [
      [allowAll, { name: "ask", action: "RequireApproval", http: { paths: ["/held"] } } as const],
      "that is read before the decision",
    ],
  ] as const)
    test(`a body ${what} reaches an upstream of ${version} whole, in one packet with its head or cut anywhere`, async (t) => {
      const room = await startH2Room(t, [{ upstream: await upstream(t), rules }]);
      for (const [where, at] of Object.entries(cuts))
        for (const isFirst of [true, false]) {
          let wire: H2Wire | undefined;
          let stream = 1;
          for (const size of sizes.filter((one) => one < firstWindow))
            for (const hasLength of [true, false]) {
              const body = bodyOf(size);
              const start = head(stream, hasLength ? size : undefined);
              const request = Buffer.concat([start, dataOf(stream, body)]);
              const cut = at(start.length, request.length);
              const pieces = [request.subarray(0, cut), request.subarray(cut)];
              if (wire === undefined || isFirst) {
                wire = await opened(room, Buffer.alloc(0));
                pieces[0] = Buffer.concat([opening, pieces[0] ?? Buffer.alloc(0)]);
              }
              await inPackets(wire, pieces);
              const title = `${size} bytes, ${hasLength ? "with" : "without"} their length, cut ${where}, ${isFirst ? "first" : "later"}`;
              assert.equal(await answerOf(wire, stream), told(body), title);
              if (isFirst) wire.socket.destroy();
              else stream += 2;
            }
        }
    });

  test(`what a window cannot hold reaches an upstream of ${version} whole, as fast as the window is given back`, async (t) => {
    const room = await startH2Room(t, [{ upstream: await upstream(t) }]);
    for (const size of sizes.filter((one) => one >= firstWindow)) {
      // Of its own each, so that what one used of the connection's window is not the next one's to reckon with.
      const wire = await opened(room);
      const body = bodyOf(size);
      await wire.until("the settings came", () => wire.frames.length > 0);
      // Only then they hold (RFC 9113 section 6.5.3).
      wire.write(frame(frameType.settings, flag.ack, 0));
      wire.write(head(1, undefined));
      for (let sent = 0; sent < size;) {
        await wire.until("there is room", () => windows(wire, 1) > sent);
        const piece = body.subarray(sent, windows(wire, 1));
        sent += piece.length;
        wire.write(dataOf(1, piece, sent === size));
      }
      assert.equal(await answerOf(wire, 1), told(body), `${size} bytes`);
    }
  });

  test(`requests of one packet reach an upstream of ${version} with their own bodies each`, async (t) => {
    const room = await startH2Room(t, [{ upstream: await upstream(t) }]);
    const wire = await opened(room, Buffer.alloc(0));
    const bodies = [1, 0, 700, 1_024, 5, 4_000].map((size) => bodyOf(size));
    const id = (at: number): number => 2 * at + 1;
    wire.write(
      opening,
      ...bodies.map((body, at) => head(id(at), at % 2 === 0 ? body.length : undefined)),
      ...bodies.map((body, at) => dataOf(id(at), body)),
    );
    for (const [at, body] of bodies.entries())
      assert.equal(await answerOf(wire, id(at)), told(body), `request ${at}`);
  });

  test(`a body that is here before anybody asks for it reaches an upstream of ${version} whole, with what stands behind it`, async (t) => {
    const { promise: granted, resolve: grant } = Promise.withResolvers<void>();
    const room = await startH2Room(t, [{ upstream: await upstream(t) }]);
    const [gate] = room.gates;
    assert.ok(gate !== undefined);
    let asked = 0;
    const acquire = gate.grant;
    gate.grant = async (signal) => {
      asked += 1;
      await granted;
      return acquire(signal);
    };
    const wire = await opened(room);
    await wire.until("the connection may send more", () =>
      wire.frames.some(({ type, stream }) => type === frameType.windowUpdate && stream === 0),
    );
    const requests = [0, 1, 1_024, 16_384, 30_000].flatMap((size) =>
      [true, false].flatMap((hasLength) =>
        // Behind a length of 0 nothing more is looked for.
        (hasLength && size === 0 ? [false] : [true, false]).map((hasTrailers) => ({
          size,
          hasLength,
          hasTrailers,
        })),
      ),
    );
    const id = (at: number): number => 2 * at + 1;
    for (const [at, { size, hasLength, hasTrailers }] of requests.entries()) {
      const behind = frame(
        frameType.headers,
        flag.endHeaders | flag.endStream,
        id(at),
        block([["x-checked", "yes"]]),
      );
      wire.write(
        head(id(at), hasLength ? size : undefined, [["te", "trailers"]]),
        dataOf(id(at), bodyOf(size), !hasTrailers),
        ...(hasTrailers ? [behind] : []),
      );
    }
    // A PING is answered behind what was read before it.
    wire.write(frame(frameType.ping, 0, 0, Buffer.alloc(8)));
    await wire.until("all of it is read", () =>
      wire.frames.some(({ type }) => type === frameType.ping),
    );
    await eventually("all of them wait for the grant", () => asked === requests.length);
    grant();
    for (const [at, request] of requests.entries()) {
      const expected = told(bodyOf(request.size), request.hasTrailers ? "yes" : undefined);
      assert.equal(await answerOf(wire, id(at)), expected, JSON.stringify(request));
    }
  });
}

test("of thousands of small requests that a client sends many at a time none is lost", async (t) => {
  const upstream = await upstreams["HTTP/1.1"]?.(t);
  assert.ok(upstream !== undefined);
  // In a process of its own: what it reads at once then is what came while it was busy.
  const args = [String(upstream.port), "http", JSON.stringify([allowAll]), "Statements", "h2"];
  const proxy = await startChild("./http-proxy-child.ts", args);
  t.after(() => proxy.stop());
  const client = connect(`https://${h2Name}`, {
    createConnection: () =>
      secure({
        host: "127.0.0.1",
        port: proxy.port,
        servername: h2Name,
        ALPNProtocols: ["h2"],
        ...(proxy.ca !== undefined && { ca: proxy.ca }),
      }),
  });
  client.on("error", () => {});
  t.after(() => client.destroy());
  await once(client, "connect");
  const body = bodyOf(1_024);
  let left = 4_000;
  const sendAll = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const fields = { ":method": "POST", "content-length": body.length };
      assert.equal((await ask(client, fields, body)).text, told(body));
    }
  };
  const all = Promise.all(Array.from({ length: 100 }, sendAll));
  const never = new Promise((_resolve, reject) => {
    setTimeout(() => reject(new Error(`some never end; ${left} were not sent`)), hangsMs).unref();
  });
  await Promise.race([all, never]);
});

test("uploads that an upstream does not take for a while wait on their connection, and reach it whole", async (t) => {
  const held: (() => void)[] = [];
  const server = createServer((request, response) => {
    request.pause();
    held.push(() => {
      let length = 0;
      request.on("data", (chunk: Buffer) => (length += chunk.length));
      request.on("end", () => response.end(String(length)));
      request.resume();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  const room = await startH2Room(t, [{ upstream: { port: address.port } }]);
  const client = room.connect();
  const uploads = 40;
  // More than the system keeps on its way, so that some of each waits in the proxy.
  const size = 12 * 1024 * 1024;
  const piece = Buffer.alloc(largestFrame, "x");
  const answers = Array.from({ length: uploads }, () => {
    const stream = client.request({ ":method": "POST", "content-length": size });
    // As much at a time as is taken: Node's client has bounds of its own.
    Readable.from(Array.from({ length: size / piece.length }, () => piece)).pipe(stream);
    return text(stream);
  });
  await eventually("the upstream has all of them", () => held.length === uploads);
  const { socket } = client;
  for (let before = -1; before !== socket.bytesWritten;) {
    before = socket.bytesWritten;
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    assert.ok(!client.destroyed, "the connection stays while they wait");
  }
  for (const read of held) read();
  for (const answer of await Promise.all(answers)) assert.equal(answer, String(size));
});
