// The reader of names against what Node itself writes as a client and reads as a server (OpenSSL).
import assert from "node:assert/strict";
import { once } from "node:events";
import { duplexPair } from "node:stream";
import type { Duplex } from "node:stream";
import { before, test } from "node:test";
import { connect, TLSSocket } from "node:tls";
import type { ConnectionOptions, SecureContext } from "node:tls";
import fc from "fast-check";

import { createPodAuthority } from "../tls/authority.ts";
import { ClientHelloReader, maxHelloBytes } from "./client-hello.ts";
import type { HelloAnswer } from "./client-hello.ts";

let context: SecureContext;
const hellos: { readonly what: string; readonly bytes: Buffer; readonly host: string }[] = [];

async function helloOf(options: ConnectionOptions): Promise<Buffer> {
  const [inside, outside] = duplexPair();
  const client = connect({ socket: inside as Duplex, rejectUnauthorized: false, ...options });
  client.on("error", () => undefined);
  const [bytes] = (await once(outside, "data")) as [Buffer];
  client.destroy();
  return bytes;
}

before(async () => {
  const authority = await createPodAuthority({ names: ["a.example"], storage: "memory" });
  context = authority.secureContextFor("a.example");
  const variants: readonly (readonly [string, ConnectionOptions])[] = [
    ["as Node says it", {}],
    ["TLS 1.2 alone", { maxVersion: "TLSv1.2" }],
    ["TLS 1.3 alone", { minVersion: "TLSv1.3" }],
    ["with ALPN", { ALPNProtocols: ["h2", "http/1.1"] }],
    ["one suite", { ciphers: "ECDHE-RSA-AES128-GCM-SHA256", maxVersion: "TLSv1.2" }],
    ["without the post-quantum share", { ecdhCurve: "X25519" }],
  ];
  for (const [what, options] of variants)
    for (const host of ["api.openai.com", `${"a".repeat(63)}.${"b".repeat(63)}.example`, "x"])
      hellos.push({ what, host, bytes: await helloOf({ servername: host, ...options }) });
});

function read(pieces: readonly Buffer[]): HelloAnswer {
  const reader = new ClientHelloReader();
  let answer: HelloAnswer = "more";
  for (const piece of pieces) answer = reader.push(Buffer.from(piece));
  return answer;
}

/** The same handshake message in records of these lengths (the last takes the rest). */
function fragmented(hello: Buffer, lengths: readonly number[]): Buffer {
  const message = hello.subarray(5);
  const records: Buffer[] = [];
  let at = 0;
  for (const length of [...lengths, message.length]) {
    const part = message.subarray(at, at + length);
    if (part.length === 0) continue;
    at += part.length;
    records.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part);
  }
  return Buffer.concat(records);
}

/** The name that Node's SNICallback is told, undefined when OpenSSL refuses the bytes, empty when it goes on without a name. */
async function nodeReads(bytes: Buffer): Promise<string | undefined> {
  const [inside, outside] = duplexPair();
  let name: string | undefined;
  const server = new TLSSocket(inside as Duplex, {
    isServer: true,
    secureContext: context,
    SNICallback: (given, answer) => {
      name ??= given;
      answer(null, context);
    },
  });
  server.on("error", () => undefined);
  outside.on("error", () => undefined);
  outside.on("data", (answer: Buffer) => {
    if (answer[0] === 22) name ??= "";
  });
  outside.write(bytes);
  // OpenSSL reads what is there in one turn and answers in the next; four are plenty.
  for (let turns = 0; turns < 4 && name === undefined && !server.destroyed; turns++)
    await new Promise((resolve) => setImmediate(resolve));
  server.destroy();
  outside.destroy();
  return name;
}

test("the name is read from what clients send, as Node's own server reads it", async () => {
  for (const { what, bytes, host } of hellos) {
    assert.deepEqual(read([bytes]), { host }, what);
    assert.equal(await nodeReads(bytes), host, what);
  }
});

test("every split point of TCP gives the same name, and so does one byte at a time", () => {
  for (const { what, bytes, host } of hellos) {
    for (let at = 0; at <= bytes.length; at++)
      assert.deepEqual(
        read([bytes.subarray(0, at), bytes.subarray(at)]),
        { host },
        `${what} ${at}`,
      );
    assert.deepEqual(read([...bytes].map((byte) => Buffer.of(byte))), { host }, what);
    for (let at = 0; at < bytes.length; at += 7)
      assert.equal(read([bytes.subarray(0, at)]), "more", `${what} cut at ${at}`);
  }
});

test("any cut into TLS records and TCP pieces gives the same name, as Node's own server reads it", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.nat(hellos.length - 1),
      fc.array(fc.integer({ min: 1, max: 400 }), { maxLength: 20 }),
      fc.array(fc.integer({ min: 1, max: 500 }), { maxLength: 20 }),
      async (index, lengths, cuts) => {
        const { bytes, host } = hellos[index] ?? { bytes: Buffer.alloc(0), host: "" };
        const records = fragmented(bytes, lengths);
        const pieces: Buffer[] = [];
        let at = 0;
        for (const cut of [...cuts, records.length]) {
          pieces.push(records.subarray(at, at + cut));
          at += cut;
        }
        assert.deepEqual(read(pieces), { host });
        assert.equal(await nodeReads(records), host);
      },
    ),
    { numRuns: 60 },
  );
});

test("whatever bytes are changed, a name is read only where Node's own server reads that name", async () => {
  let named = 0;
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.nat(hellos.length - 1),
      fc.array(fc.tuple(fc.nat(2_000), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      async (index, changes) => {
        const hello = hellos[index] ?? { bytes: Buffer.alloc(0), host: "" };
        const bytes = Buffer.from(hello.bytes);
        for (const [at, value] of changes) bytes[at % bytes.length] = value;
        const answer = read([bytes]);
        if (typeof answer === "string" || "problem" in answer) {
          refused++;
          return;
        }
        const theirs = await nodeReads(bytes);
        // What OpenSSL refuses altogether leads nowhere; what it takes must be the same name.
        if (theirs === undefined) return;
        named++;
        assert.equal(answer.host, theirs.toLowerCase());
      },
    ),
    { numRuns: 400 },
  );
  assert.ok(named > 50 && refused > 5, `${named} named, ${refused} refused`);
});

test("random bytes never throw and never have a name", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), fc.boolean(), (random, hasHeader) => {
      const head = hasHeader ? [22, 3, 1, random.length >> 8, random.length & 255] : [];
      const answer = read([Buffer.from([...head, ...random])]);
      assert.ok(typeof answer === "string" || "problem" in answer);
    }),
  );
});

/** A ClientHello with these extensions. */
function made(extensions: readonly (readonly [type: number, content: Buffer])[]): Buffer {
  const list = Buffer.concat(
    extensions.map(([type, content]) =>
      Buffer.concat([uint16(type), uint16(content.length), content]),
    ),
  );
  const body = Buffer.concat([
    Buffer.from([3, 3]),
    Buffer.alloc(32, 7),
    Buffer.from([0, 0, 2, 0x13, 0x01, 1, 0]),
    uint16(list.length),
    list,
  ]);
  const message = Buffer.concat([Buffer.from([1, 0]), uint16(body.length), body]);
  return Buffer.concat([Buffer.from([22, 3, 1]), uint16(message.length), message]);
}

function uint16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 255]);
}

function sni(...names: readonly (readonly [type: number, name: string])[]): Buffer {
  const list = Buffer.concat(
    names.map(([type, name]) =>
      Buffer.concat([Buffer.of(type), uint16(name.length), Buffer.from(name, "latin1")]),
    ),
  );
  return Buffer.concat([uint16(list.length), list]);
}

const named = (name: string): Buffer => made([[0, sni([0, name])]]);

const strange: readonly (readonly [what: string, bytes: Buffer, problem: RegExp])[] = [
  ["no extensions at all", made([]), /without a server name/],
  ["no server name", made([[16, Buffer.from([0, 3, 2, 104, 50])]]), /without a server name/],
  [
    "an encrypted ClientHello",
    made([
      [0, sni([0, "a.example"])],
      [0xfe0d, Buffer.alloc(40)],
    ]),
    /ECH/,
  ],
  [
    "the draft before ECH",
    made([
      [0xffce, Buffer.alloc(40)],
      [0, sni([0, "a.example"])],
    ]),
    /ECH/,
  ],
  ["two names", made([[0, sni([0, "a.example"], [0, "b.example"])]]), /malformed/],
  ["a name of another type", made([[0, sni([1, "a.example"])]]), /malformed/],
  [
    "the extension twice",
    made([
      [0, sni([0, "a.example"])],
      [0, sni([0, "b.example"])],
    ]),
    /malformed/,
  ],
  ["an empty name", named(""), /no host name/],
  ["an address", named("10.0.0.1"), /no host name/],
  ["a final dot", named("a.example."), /no host name/],
  ["a NUL", named("a.example\0.evil.example"), /no host name/],
  ["a blank", named("a.example "), /no host name/],
  ["a letter beyond ASCII", named("\xe4.example"), /no host name/],
  ["a name of 300 characters", named(`${"a.".repeat(150)}a`), /no host name/],
  ["HTTP", Buffer.from("GET / HTTP/1.1\r\n"), /no TLS handshake/],
  ["an alert", Buffer.from([21, 3, 1, 0, 2, 1, 0]), /no TLS handshake/],
  ["SSL 2", Buffer.from([0x80, 0x2e, 1, 0, 2]), /no TLS handshake/],
  ["a ServerHello", Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0]), /no ClientHello/],
  ["an empty record", Buffer.from([22, 3, 1, 0, 0]), /empty TLS record/],
  ["TLS 2", Buffer.from([22, 4, 0, 0, 9]), /no TLS version/],
  ["an endless record", Buffer.from([22, 3, 1, 0xff, 0xff]), /more than/],
  ["an endless message", Buffer.from([22, 3, 1, 0, 4, 1, 1, 0, 0]), /more than/],
  ["a second message behind it", second(), /more than a ClientHello/],
];

function second(): Buffer {
  const hello = named("a.example");
  const content = Buffer.concat([hello.subarray(5), Buffer.from([1, 0, 0, 0])]);
  return Buffer.concat([Buffer.from([22, 3, 1]), uint16(content.length), content]);
}

for (const [what, bytes, problem] of strange)
  test(`${what} is refused with a reason`, () => {
    const answer = read([bytes]);
    assert.ok(typeof answer === "object" && "problem" in answer, JSON.stringify(answer));
    assert.match(answer.problem, problem);
  });

test("names are compared in lower case, and what follows the ClientHello in records of its own is none of it", () => {
  const more = Buffer.from([20, 3, 3, 0, 1, 1]);
  assert.deepEqual(read([Buffer.concat([named("API.Example.COM"), more])]), {
    host: "api.example.com",
  });
});

test("a ClientHello in records of one byte is refused before it costs anything", () => {
  const records = fragmented(
    named("a.example"),
    Array.from({ length: 200 }, () => 1),
  );
  const answer = read([records]);
  assert.ok(typeof answer === "object" && "problem" in answer);
});

test("a message as large as the bound is read, one byte more is not", () => {
  const filler = maxHelloBytes - named("a.example").length - 4 + 5;
  const fits = made([
    [0, sni([0, "a.example"])],
    [21, Buffer.alloc(filler - 4)],
  ]);
  assert.deepEqual(read([fits]), { host: "a.example" });
  const over = made([
    [0, sni([0, "a.example"])],
    [21, Buffer.alloc(filler + 20)],
  ]);
  assert.ok(typeof read([over]) === "object" && "problem" in (read([over]) as object));
});
