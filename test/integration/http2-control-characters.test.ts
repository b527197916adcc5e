// A field of an HTTP/2 request whose name or value RFC 9113 (8.2.1) forbids is dropped by nghttp2, and nobody here sees it. So nobody behind may see it
// either: the request that the upstream gets is the one that was decided, down to the byte.
import assert from "node:assert/strict";
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { test } from "node:test";

import { startByteOrigin } from "./http-byte-origin.ts";
import { h2Name, h2Origin, startH2Room } from "./http2-fixture.ts";
import { flag, H2Wire } from "./http2-frames.ts";
import type { Field } from "./http2-frames.ts";

const head: readonly Field[] = [
  [":method", "POST"],
  [":scheme", "https"],
  [":path", "/"],
  [":authority", h2Name],
];

/** C0 but the tab, and DEL. */
const controls: readonly string[] = [...Array(0x20).keys(), 0x7f]
  .filter((code) => code !== 0x09)
  .map((code) => String.fromCharCode(code));

/** Fields that mean something, and one that means nothing; each is sent as it is and with what would end its line. */
const names = ["x-mark", "content-type", "content-encoding", "cookie", "range", "forwarded"];

/** One request a field, alone with one that is as it should be; in a value at each end and amid it, and in the name. */
const fields: readonly Field[] = [
  ...controls.flatMap((control): Field[] => [
    ["x-mark", `spoken${control}`],
    ["x-mark", `${control}spoken`],
    ["x-mark", `spo${control}ken`],
    [`x-mark${control}`, "spoken"],
  ]),
  ...names.flatMap((name): Field[] => [
    [name, "spoken\r\nx-smuggled: spoken"],
    [name, "spoken\r\n\r\nDELETE /spoken HTTP/1.1\r\nhost: spoken\r\n\r\n"],
    [name, "spoken\0"],
  ]),
];

interface Wired {
  readonly wire: H2Wire;
  readonly stream: number;
}

async function answered({ wire, stream }: Wired): Promise<"reset" | "answered"> {
  const ends = (): boolean =>
    wire.frames.some((one) => one.stream === stream && (one.flags & flag.endStream) !== 0);
  await wire.until(`stream ${stream}`, () => wire.resetOf(stream) !== undefined || ends());
  return wire.resetOf(stream) === undefined ? "answered" : "reset";
}

for (const where of ["head", "trailers"] as const)
  test(`of a field with control characters in the ${where} an HTTP/1.1 upstream gets not a byte`, async (t) => {
    const origin = await startByteOrigin();
    t.after(() => origin.close());
    const room = await startH2Room(t, [{ upstream: { port: origin.port } }]);
    const wire = new H2Wire(await room.socket());
    wire.open();
    let passed = 0;
    for (const [at, field] of fields.entries()) {
      const stream = 2 * at + 1;
      wire.headers(
        stream,
        [...head, ["x-kept", `${at}`], ...(where === "head" ? [field] : [])],
        false,
      );
      wire.data(stream, "body", where === "head");
      if (where === "trailers") wire.headers(stream, [["x-sum", "1"], field]);
      if ((await answered({ wire, stream })) === "answered") passed += 1;
    }
    assert.deepEqual(origin.faults, []);
    const whole = origin.arrived.filter(({ cut }) => !cut);
    assert.equal(whole.length, passed, "as many requests as were answered, and no other");
    for (const { bytes, body, line, headers } of origin.arrived) {
      assert.doesNotMatch(bytes, /spoken|smuggled|x-mark/i);
      assert.equal(line, "POST /");
      assert.equal(headers.filter((header) => header.startsWith("x-kept: ")).length, 1);
      assert.equal(body, "body");
    }
    assert.ok(passed > 0, "some are served without it");
    const served = room.operations().filter(({ body }) => body.decision?.verdict === "allow");
    assert.ok(served.length >= passed);
  });

test("of a field with control characters an HTTP/2 upstream gets nothing", async (t) => {
  const got: IncomingHttpHeaders[] = [];
  const { upstream } = await h2Origin(t, (server) =>
    server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      got.push(headers);
      stream.on("error", () => {});
      stream.resume();
      stream.respond({ ":status": 200 }, { endStream: true });
    }),
  );
  const room = await startH2Room(t, [{ upstream }]);
  const wire = new H2Wire(await room.socket());
  wire.open();
  for (const [at, field] of fields.entries()) {
    const stream = 2 * at + 1;
    wire.headers(stream, [...head, ["x-kept", `${at}`], field]);
    await answered({ wire, stream });
  }
  assert.ok(got.length > 0);
  assert.doesNotMatch(JSON.stringify(got), /spoken|smuggled|x-mark/i);
  assert.ok(got.every((headers) => headers["x-kept"] !== undefined));
});

test("a rule that needs such a field does not allow the request that comes without it", async (t) => {
  const origin = await startByteOrigin();
  t.after(() => origin.close());
  const room = await startH2Room(t, [
    {
      upstream: { port: origin.port },
      rules: [
        {
          name: "json",
          action: "Allow",
          http: { methods: ["POST"] },
          when: "http.contentType == 'application/json'",
        },
      ],
    },
  ]);
  const wire = new H2Wire(await room.socket());
  wire.open();
  for (const [at, type] of [
    "application/json\0",
    "application/json\r\n",
    "application/json",
  ].entries()) {
    const stream = 2 * at + 1;
    wire.headers(stream, [...head, ["content-type", type]], false);
    wire.data(stream, "{}", true);
    await answered({ wire, stream });
  }
  assert.deepEqual(
    origin.arrived.map(({ headers }) => headers.filter((one) => one.startsWith("content-type"))),
    [["content-type: application/json"]],
  );
});
