// The corpus of targets, and authorities, asked for over HTTP/2: what has one reading goes on in that one, to either kind of upstream; what has two is refused.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type { BundleRule } from "../../policy/bundle.ts";
import { claimHeaders, credentialHeaders } from "../../proxy/http/credential/reserved.ts";
import { impossibleTargets, spellings, targets } from "../corpus/http/targets.ts";
import { startByteOrigin } from "./http-byte-origin.ts";
import type { ConnectionSetup } from "./http-proxy-fixture.ts";
import { ask, h2Name, h2Origin, startH2Room } from "./http2-fixture.ts";
import type { H2Room } from "./http2-fixture.ts";
import { H2Wire, frameType } from "./http2-frames.ts";
import type { Field } from "./http2-frames.ts";

type Version = "HTTP/1.1" | "HTTP/2";

interface Target {
  readonly upstream: ConnectionSetup["upstream"];
  /** `METHOD target` of every request that arrived, and names of its headers. */
  readonly arrived: { readonly line: string; readonly headers: readonly string[] }[];
}

async function target(t: TestContext, version: Version): Promise<Target> {
  if (version === "HTTP/1.1") {
    const origin = await startByteOrigin();
    t.after(() => origin.close());
    const arrived: Target["arrived"] = [];
    return {
      upstream: { port: origin.port },
      get arrived() {
        assert.deepEqual(origin.faults, []);
        arrived.push(...origin.arrived);
        origin.clear();
        return arrived;
      },
    };
  }
  const arrived: Target["arrived"] = [];
  const { upstream } = await h2Origin(t, (server) =>
    server.on("stream", (stream, fields) => {
      const headers = Object.entries(fields).map(([name, value]) => `${name}: ${String(value)}`);
      arrived.push({ line: `${fields[":method"]} ${fields[":path"]}`, headers });
      stream.on("error", () => {});
      stream.respond({ ":status": 200 });
      stream.end("ok");
    }),
  );
  return { upstream, arrived };
}

/** A connection of its own for whoever breaks one. */
class Asker {
  readonly #room: H2Room;
  #wire: H2Wire | undefined;
  #stream = 1;

  constructor(room: H2Room) {
    this.#room = room;
  }

  /** The status, or undefined where the stream or its connection was broken off. */
  async status(fields: readonly Field[]): Promise<number | undefined> {
    if (this.#wire === undefined || this.#wire.isClosed || this.#wire.goaway !== undefined) {
      this.#wire = new H2Wire(await this.#room.socket());
      this.#wire.open();
      this.#stream = 1;
    }
    const [wire, stream] = [this.#wire, this.#stream];
    this.#stream += 2;
    wire.headers(stream, fields);
    const head = () =>
      wire.frames.find((one) => one.type === frameType.headers && one.stream === stream);
    await wire.until(
      JSON.stringify(fields),
      () => head() !== undefined || wire.resetOf(stream) !== undefined || wire.goaway !== undefined,
    );
    const [first] = head()?.payload ?? [];
    if (first === undefined) return undefined;
    // `:status: 200` is one octet (RFC 7541 appendix A); what was refused is none of the few that are.
    return first === 0x88 ? 200 : 400;
  }
}

const ruled: readonly Partial<BundleRule>[] = [
  { name: "all-paths", action: "Allow", http: { paths: ["/**"] } },
  { name: "never", action: "Deny", http: { query: { never: "*" } } },
];

function fields(path: string, authority = h2Name): Field[] {
  return [
    [":method", "GET"],
    [":scheme", "https"],
    [":path", path],
    [":authority", authority],
  ];
}

for (const version of ["HTTP/1.1", "HTTP/2"] as const)
  for (const rules of [ruled, [{ name: "all", action: "Allow", http: {} }] as const])
    test(`a target asked for over HTTP/2 reaches an upstream of ${version} in its one form or not at all, where ${rules === ruled ? "a rule reads it" : "none does"}`, async (t) => {
      const origin = await target(t, version);
      const room = await startH2Room(t, [{ upstream: origin.upstream, rules }]);
      const asker = new Asker(room);
      let sent = 0;
      for (const entry of [...targets, ...impossibleTargets, ...spellings]) {
        const path = /^GET ([^]*) HTTP\/1\.1\r\n/.exec(entry.bytes)?.[1];
        assert.ok(path !== undefined);
        const sees = rules === ruled ? entry.sees : (entry.ungoverned ?? entry.sees);
        const status = await asker.status(fields(path));
        const arrived = origin.arrived.splice(0).map(({ line }) => line);
        assert.deepEqual(
          arrived,
          sees.map(({ line }) => line),
          JSON.stringify(path),
        );
        if (sees.length === 0) assert.notEqual(status, 200, JSON.stringify(path));
        sent += sees.length;
      }
      const allowed = room.operations().filter(({ body }) => body.decision?.verdict === "allow");
      assert.equal(allowed.length, sent, "what arrived was decided and recorded, and nothing else");
      assert.ok(sent > 20);
    });

test("an authority that names another host, in whatever spelling, reaches nobody over HTTP/2", async (t) => {
  const origin = await target(t, "HTTP/1.1");
  const room = await startH2Room(t, [{ upstream: origin.upstream }], [h2Name, "b.example"]);
  const asker = new Asker(room);
  for (const authority of [
    "b.example",
    `b.example@${h2Name}`,
    `${h2Name}@b.example`,
    `${h2Name}:443@b.example`,
    `${h2Name}/b.example`,
    `${h2Name}?b`,
    `${h2Name}#b`,
    `${h2Name},b.example`,
    `${h2Name} b.example`,
    `${h2Name}\\b.example`,
    `${h2Name}:`,
    `${h2Name}:x`,
    `${h2Name}:99999`,
    `${h2Name}:-1`,
    "",
  ])
    assert.notEqual(await asker.status(fields("/", authority)), 200, authority);
  for (const [name, value] of [
    ["host", "b.example"],
    [":authority", h2Name],
    [":authority", "b.example"],
    [":path", "/other"],
    [":method", "POST"],
  ] as const)
    assert.notEqual(await asker.status([...fields("/"), [name, value]]), 200, `${name} ${value}`);
  for (const two of [
    [...fields("/"), ["host", h2Name] as const, ["host", "b.example"] as const],
    [...fields("/").slice(0, 3), ["host", h2Name] as const, ["host", "b.example"] as const],
  ])
    assert.notEqual(await asker.status(two), 200, "two hosts");
  for (const path of ["http://b.example/", `https://b.example/`, "*", "", "x", "?x"])
    assert.notEqual(await asker.status(fields(path)), 200, path);
  assert.deepEqual(origin.arrived, []);
  assert.equal(await asker.status(fields("/", `${h2Name.toUpperCase()}:443`)), 200);
  assert.equal(origin.arrived.length, 1);
});

for (const version of ["HTTP/1.1", "HTTP/2"] as const)
  test(`no header of an HTTP/2 request that would stand for a credential or claim who asks reaches an upstream of ${version}`, async (t) => {
    const origin = await target(t, version);
    const lease = { kind: "headers", headers: [{ name: "x-token", value: "real" }] } as const;
    const room = await startH2Room(t, [{ upstream: origin.upstream, lease }]);
    const reserved = [...credentialHeaders, ...claimHeaders, "x-forwarded-user", "cookie"];
    const own = Object.fromEntries(reserved.map((name) => [name, "mine"]));
    const answer = await ask(room.connect(), { ...own, "x-token": "mine", "x-kept": "1" });
    assert.equal(answer.status, 200);
    const [seen] = origin.arrived;
    assert.ok(seen !== undefined);
    assert.ok(seen.headers.includes("x-kept: 1"));
    assert.deepEqual(
      seen.headers.filter((line) => line.startsWith("x-token:")),
      ["x-token: real"],
    );
    assert.deepEqual(
      seen.headers.filter((line) => line.includes("mine")),
      [],
    );
  });
