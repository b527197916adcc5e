import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";

import { firstVirtualAddress, proofName } from "../../contract/redirect.ts";
import { answerTo, bytesOfIPv4, bytesOfIPv6, type NamesOptions } from "./answer.ts";
import { maxQueryBytes, rcodes, readQuery, types } from "./message.ts";

const options: NamesOptions = {
  names: new Map([
    ["db.example", "198.18.64.1"],
    ["orders", "198.18.64.2"],
  ]),
  families: [4, 6],
  search: ["agents.svc.cluster.local", "svc.cluster.local", "cluster.local"],
};

function labels(name: string): Buffer {
  const parts = name === "" ? [] : name.split(".");
  return Buffer.concat([
    ...parts.flatMap((part) => [Buffer.from([part.length]), Buffer.from(part, "latin1")]),
    Buffer.from([0]),
  ]);
}

interface Asked {
  readonly id?: number;
  readonly flags?: number;
  readonly counts?: readonly [number, number, number, number];
  readonly type?: number;
  readonly class?: number;
  readonly tail?: Buffer;
}

function query(name: string, asked: Asked = {}): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt16BE(asked.id ?? 0x1234, 0);
  header.writeUInt16BE(asked.flags ?? 0x0100, 2);
  (asked.counts ?? [1, 0, 0, 0]).forEach((count, at) => header.writeUInt16BE(count, 4 + at * 2));
  const end = Buffer.alloc(4);
  end.writeUInt16BE(asked.type ?? types.a, 0);
  end.writeUInt16BE(asked.class ?? 1, 2);
  return Buffer.concat([header, labels(name), end, asked.tail ?? Buffer.alloc(0)]);
}

/** EDNS with one option of two bytes. */
function opt(version = 0): Buffer {
  return Buffer.from([0, 0, 41, 0x04, 0xd0, 0, version, 0, 0, 0, 6, 0, 10, 0, 2, 1, 2]);
}

function answered(message: Buffer) {
  const { response, unknown } = answerTo(message, options);
  assert.ok(response);
  return {
    id: response.readUInt16BE(0),
    flags: response.readUInt16BE(2),
    rcode: response.readUInt16BE(2) & 0xf,
    answers: response.readUInt16BE(6),
    tail: response.subarray(-16),
    response,
    unknown,
  };
}

test("a name of a Connection has its one address in each family, whatever its capitals", () => {
  const v4 = answered(query("DB.Example"));
  assert.deepEqual([v4.id, v4.rcode, v4.answers, v4.unknown], [0x1234, 0, 1, undefined]);
  assert.deepEqual(v4.response.subarray(-4), bytesOfIPv4("198.18.64.1"));
  assert.ok(v4.response.includes(labels("DB.Example")), "the question comes back as it was asked");
  const v6 = answered(query("db.example", { type: types.aaaa }));
  assert.deepEqual(v6.tail, bytesOfIPv6("2001:2::c612:4001"));
});

test("it has no address of a family that the pod cannot dial, and no record of another type", () => {
  const only4 = { ...options, families: [4] } as const;
  const { response } = answerTo(query("db.example", { type: types.aaaa }), only4);
  assert.deepEqual([response?.readUInt16BE(2), response?.readUInt16BE(6)], [0x8580, 0]);
  for (const type of [2, 5, 6, 12, 15, 16, 33, 64, 65])
    assert.deepEqual([answered(query("db.example", { type })).answers], [0], `type ${type}`);
});

test("the verifier's question has its answer in a pod without IPv4 too", () => {
  for (const families of [[4], [6], [4, 6]] as const) {
    const { response } = answerTo(query(proofName), { ...options, families });
    assert.deepEqual(response?.subarray(-4), bytesOfIPv4(firstVirtualAddress), families.join());
  }
});

test("every other name does not exist, and is told without the search domain that a library added", () => {
  const cases: readonly (readonly [string, string | undefined])[] = [
    ["evil.example", "evil.example"],
    ["evil.example.agents.svc.cluster.local", "evil.example"],
    ["x.db.example", "x.db.example"],
    // The library comes to the known name by itself.
    ["orders.agents.svc.cluster.local", undefined],
    ["db.example.cluster.local", undefined],
    ["not a name", "(not a host name)"],
    ["", "(not a host name)"],
  ];
  for (const [name, unknown] of cases) {
    const said = answered(query(name));
    assert.deepEqual(
      [said.rcode, said.answers, said.unknown],
      [rcodes.nameError, 0, unknown],
      name,
    );
  }
});

test("a dot inside a label is no dot between labels", () => {
  const message = Buffer.concat([
    query("").subarray(0, 12),
    Buffer.from([10]),
    Buffer.from("db.example"),
    Buffer.from([0, 0, 1, 0, 1]),
  ]);
  assert.equal(answered(message).rcode, rcodes.nameError);
});

test("EDNS is answered with EDNS; another version of it is refused by its own code", () => {
  const edns = { counts: [1, 0, 0, 1], tail: opt() } as const;
  const said = answered(query("db.example", edns));
  assert.deepEqual([said.rcode, said.answers, said.response.readUInt16BE(10)], [0, 1, 1]);
  const newer = answered(query("db.example", { ...edns, tail: opt(1) }));
  assert.deepEqual(
    [newer.rcode, newer.response.at(-6)],
    [0, 1],
    "BADVERS is 16: 1 in EDNS, 0 in the header",
  );
});

const malformed: readonly (readonly [string, Buffer])[] = [
  ["two questions", query("db.example", { counts: [2, 0, 0, 0] })],
  ["no question", query("db.example", { counts: [0, 0, 0, 0] })],
  ["an answer in a query", query("db.example", { counts: [1, 1, 0, 0] })],
  ["an authority in a query", query("db.example", { counts: [1, 0, 1, 0] })],
  ["two additional records", query("db.example", { counts: [1, 0, 0, 2], tail: opt() })],
  [
    "an additional record that is no OPT",
    query("db.example", {
      counts: [1, 0, 0, 1],
      tail: Buffer.from([0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]),
    }),
  ],
  [
    "options beyond their record",
    query("db.example", {
      counts: [1, 0, 0, 1],
      tail: Buffer.from([0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 4, 0, 10, 0, 9]),
    }),
  ],
  ["bytes behind the end", query("db.example", { tail: Buffer.from("exfiltrated") })],
  [
    "a pointer in the question",
    Buffer.concat([query("").subarray(0, 12), Buffer.from([0xc0, 12, 0, 1, 0, 1])]),
  ],
  [
    "a label of 64",
    Buffer.concat([
      query("").subarray(0, 12),
      Buffer.from([64]),
      Buffer.alloc(64, "a"),
      Buffer.from([0, 0, 1, 0, 1]),
    ]),
  ],
  ["a name of 256", query(Array(64).fill("abc").join("."))],
  ["a question without its type", query("db.example").subarray(0, -3)],
  ["more than a query can have", query("db.example", { tail: Buffer.alloc(maxQueryBytes) })],
];

for (const [what, message] of malformed)
  test(`${what} is a format error`, () => {
    const said = answered(message);
    assert.deepEqual([said.rcode, said.answers], [rcodes.formatError, 0]);
  });

test("other operations are not implemented, other classes and transfers refused", () => {
  assert.equal(answered(query("db.example", { flags: 0x2900 })).rcode, rcodes.notImplemented);
  assert.equal(answered(query("db.example", { class: 3 })).rcode, rcodes.refused);
  for (const type of [251, 252, 255])
    assert.equal(answered(query("db.example", { type })).rcode, rcodes.refused);
});

test("an answer is never answered, nor what is too short to say whose it is", () => {
  assert.equal(answerTo(query("db.example", { flags: 0x8180 }), options).response, undefined);
  assert.equal(answerTo(Buffer.alloc(11), options).response, undefined);
});

test("whatever the bytes, there is one short answer to the same id or none, and it says nothing that was not asked", () => {
  const near = fc
    .tuple(
      fc.constantFrom(
        query("db.example"),
        query("evil.example", { counts: [1, 0, 0, 1], tail: opt() }),
      ),
      fc.array(fc.tuple(fc.nat(80), fc.nat(255)), { maxLength: 6 }),
      fc.nat(80),
    )
    .map(([message, changes, cut]) => {
      const changed = Buffer.from(message);
      for (const [at, value] of changes) if (at < changed.length) changed[at] = value;
      return changed.subarray(0, Math.max(0, changed.length - (cut > 60 ? cut - 60 : 0)));
    });
  const any = fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes));
  fc.assert(
    fc.property(fc.oneof(near, any), (message) => {
      const { response } = answerTo(message, options);
      if (response === undefined) return;
      assert.ok(response.length <= 512);
      assert.equal(response.readUInt16BE(0), message.readUInt16BE(0));
      assert.ok((response.readUInt16BE(2) & 0x8000) !== 0, "it is an answer");
      const read = readQuery(message);
      if (!("question" in read)) assert.equal(response.length, 12);
      else assert.deepEqual(response.subarray(12, 12 + read.question.length), read.question);
      if (response.readUInt16BE(6) > 0)
        assert.ok("name" in read && options.names.has(read.name ?? ""));
    }),
    { numRuns: 2_000 },
  );
});
