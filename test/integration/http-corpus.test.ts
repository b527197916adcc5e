// The HTTP corpus, byte by byte: each request is refused, or the origin gets exactly what was decided and recorded, in one form.
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";

import type { BundleRule } from "../../policy/bundle.ts";
import { corpus } from "../corpus/http/corpus.ts";
import type { Entry, Seen } from "../corpus/http/entry.ts";
import { startByteOrigin } from "./http-byte-origin.ts";
import type { Arrived, ByteOrigin } from "./http-byte-origin.ts";
import { startRoom } from "./http-proxy-fixture.ts";
import type { Recorded, TestRoom } from "./http-proxy-fixture.ts";

/** Entries are played in rooms of their own, so many at a time. */
const lanes = 12;
/** Nothing here is about time: what has not come after this, on however busy a machine, never comes. */
const hangsMs = 60_000;
/** What was answered may still be on its way to the origin, or never have left. */
const leavesMs = 1_000;
/** Behind the last answer that is expected nothing more may come. */
const quietMs = 40;

interface Played {
  readonly arrived: readonly Arrived[];
  readonly faults: readonly string[];
  readonly operations: readonly Recorded[];
  readonly refusals: number;
  readonly answer: string;
}

type Ways = Readonly<Record<"governed" | "ungoverned", Played>>;

const governed: readonly Partial<BundleRule>[] = [
  { name: "all-paths", action: "Allow", http: { paths: ["/**"] } },
  { name: "denied", action: "Deny", http: { paths: ["/denied"] } },
  { name: "never", action: "Deny", http: { query: { never: "*" } } },
];
const ungoverned: readonly Partial<BundleRule>[] = [{ name: "all", action: "Allow", http: {} }];

const played = new Map<Entry, Ways>();
const cleanups: (() => Promise<void> | void)[] = [];

/** What an answer begins with, and how many. */
type Awaited = readonly [start: string, count: number];

interface Lane {
  readonly room: TestRoom;
  readonly origin: ByteOrigin;
}

async function openLane(rules: readonly Partial<BundleRule>[]): Promise<Lane> {
  const origin = await startByteOrigin();
  const room = await startRoom(
    { after: (hook) => void cleanups.push(hook as () => Promise<void>) },
    [{ upstream: { port: origin.port }, rules }],
    {
      route: {
        select: (host, _path, port) => (serves(host, port) ? room.gate : undefined),
      },
    },
  );
  cleanups.push(() => origin.close());
  return { room, origin };
}

function serves(host: string, port: number | undefined): boolean {
  return (host === "a" || host === "[::1]") && (port ?? 80) === 80;
}

async function play(
  { room, origin }: Lane,
  { bytes, isUnfinished }: Entry,
  sees: readonly Seen[],
): Promise<Played> {
  origin.clear();
  room.gate.events.length = 0;
  room.refusals.length = 0;
  const whole = sees.filter(({ cut }) => cut !== true).length;
  const awaited: Awaited = sees.length === 0 ? ["HTTP/1.1 ", 1] : ["HTTP/1.1 200", whole];
  const leaves = isUnfinished === true ? () => origin.begun() > 0 : undefined;
  const answer = await exchange(room.port, Buffer.from(bytes, "latin1"), awaited, leaves);
  // What is recorded, and what is broken off, is there a moment later; what never comes is the test's to miss.
  const isSettled = (): boolean =>
    allowedOf(room).length === origin.arrived.length &&
    room.operations().length + room.refusals.length > 0;
  // Broken off and told so, it may never have begun.
  const mayBeNothing = whole === 0 && sees.length > 0 && /^HTTP\/1\.1 [45]/.test(answer);
  const deadline = performance.now() + (mayBeNothing ? leavesMs : hangsMs);
  while (!isSettled() && performance.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, 10));
  return {
    arrived: [...origin.arrived],
    faults: [...origin.faults],
    operations: room.operations(),
    refusals: room.refusals.length,
    answer,
  };
}

function isAllowed({ body }: Recorded): boolean {
  return body.decision?.verdict === "allow";
}

function allowedOf(room: TestRoom): readonly Recorded[] {
  return room.operations().filter(isAllowed);
}

/** Sends and reads until as many answers are there and nothing follows, or the proxy closes, or it is time to leave. */
function exchange(
  port: number,
  bytes: Buffer,
  [start, answers]: Awaited,
  leaves: () => boolean = () => false,
): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    let text = "";
    const done = (): void => {
      clearInterval(watch);
      socket.destroy();
      resolve(text);
    };
    const watch = setInterval(() => leaves() && done(), 5);
    socket.setTimeout(hangsMs, done);
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      if (text.split(start).length > answers) socket.setTimeout(quietMs);
    });
    socket.on("close", done);
    socket.on("error", done);
    socket.write(bytes);
  });
}

before(async () => {
  const entries = Object.values(corpus).flat();
  const lane = async (): Promise<void> => {
    const with_ = await openLane(governed);
    const without = await openLane(ungoverned);
    for (let entry = entries.shift(); entry !== undefined; entry = entries.shift()) {
      const [one, other] = await Promise.all([
        play(with_, entry, entry.sees),
        play(without, entry, withDenied(entry)),
      ]);
      played.set(entry, { governed: one, ungoverned: other });
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
});

after(async () => {
  for (const cleanup of cleanups) await cleanup();
});

for (const [what, entries] of Object.entries(corpus)) {
  describe(what, () => {
    for (const entry of entries) {
      test(titleOf(entry), () => {
        const ways = played.get(entry);
        assert.ok(ways !== undefined);
        check(ways.governed, entry.sees, entry);
        check(ways.ungoverned, withDenied(entry), entry);
      });
    }
  });
}

function titleOf({ name, sees, ungoverned: elsewhere }: Entry): string {
  if (elsewhere !== undefined)
    return `${name} is refused where a rule reads it, and else sent as it is`;
  if (sees.length === 0) return `${name}: refused, and nothing of it arrives`;
  return sees.some(({ cut }) => cut) ? `${name}: broken off` : `${name}: arrives in its one form`;
}

/** Where no rule denies it, `/denied` arrives like any other. */
function withDenied(entry: Entry): readonly Seen[] {
  if (entry.ungoverned !== undefined) return entry.ungoverned;
  const method = /^([A-Z]+) \/denied HTTP\/1\.1\r\nHost: a\r\n/.exec(entry.bytes)?.[1];
  if (method === undefined || entry.sees.length === 0) return entry.sees;
  return [{ line: `${method} /denied`, anyBody: true }, ...entry.sees];
}

function check(
  { arrived, faults, operations, refusals, answer }: Played,
  sees: readonly Seen[],
  entry: Entry,
): void {
  assert.deepEqual(faults, []);
  // What is broken off may never have begun.
  const expected = sees.filter(({ cut }, at) => cut !== true || arrived.length > at);
  assert.deepEqual(
    arrived.map(({ line }) => line),
    expected.map(({ line }) => line),
    answer.slice(0, 400),
  );
  for (const [at, seen] of expected.entries()) checkOne(arrived[at], seen);
  // What was decided, allowed and recorded is what arrived: the same requests, in the same order.
  const allowed = operations.filter(isAllowed);
  if (expected.length === sees.length)
    assert.deepEqual(
      allowed.map(({ body }) => factsLine(body.operation)),
      arrived.map(entry.ungoverned === sees ? pathLine : decodedLine),
    );
  const answered = arrived.filter(({ cut }) => !cut).length;
  assert.equal(answer.split("HTTP/1.1 200").length - 1, answered, answer);
  if (expected.length > 0) return;
  // Somebody can see that it was refused.
  assert.ok(refusals + operations.length > 0, "no event");
  if (entry.isOther === true) return;
  const status = Number(/^HTTP\/1\.1 (\d\d\d) /.exec(answer)?.[1] ?? 0);
  assert.ok(status >= 400 && status < 600, `was answered with ${status}`);
  if (entry.status !== undefined) assert.equal(status, entry.status);
}

function checkOne(arrived: Arrived | undefined, seen: Seen): void {
  assert.ok(arrived !== undefined);
  assert.equal(arrived.cut, seen.cut ?? false);
  assert.match(arrived.host, /^127\.0\.0\.1:\d+$/);
  if (seen.cut !== true && seen.anyBody !== true) assert.equal(arrived.body, seen.body ?? "");
  if (seen.cut !== true) assert.deepEqual(arrived.trailers, seen.trailers ?? []);
  for (const line of seen.has ?? []) assert.ok(arrived.headers.includes(line), line);
  for (const name of seen.lacks ?? [])
    assert.ok(!arrived.headers.some((line) => line.startsWith(`${name}:`)), name);
}

function factsLine(operation: Recorded["body"]["operation"]): string {
  const facts = operation?.facts;
  assert.ok(facts !== undefined && "method" in facts && "path" in facts);
  return `${String(facts.method)} ${String(facts.path)}`;
}

/** As the plainest server would read it. */
function decodedLine({ line }: Arrived): string {
  return decodeURIComponent(line.split("?")[0] ?? "");
}

/** A path that nothing was decided on is recorded as it was sent. */
function pathLine({ line }: Arrived): string {
  return line.split("?")[0] ?? "";
}
