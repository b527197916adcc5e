// docs/reference/events.md hands its reader a script that knows nothing of Chaperone; this runs that very script.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { flattenEvent, hashBody, hashHeader, startOf } from "../contract/chain.ts";
import type { EventBody, EventHeader } from "../contract/event.ts";

const page = readFileSync(join(import.meta.dirname, "../docs/reference/events.md"), "utf8");
const [, script = ""] = /```js\n([\s\S]*?)```/.exec(page) ?? [];
const directory = mkdtempSync(join(tmpdir(), "chaperone-events-doc-"));
const file = join(directory, "verify-events.mjs");
writeFileSync(file, script);
after(() => rmSync(directory, { recursive: true }));

type Printed = Record<string, unknown>;

function printed(bodies: readonly EventBody[]): Printed[] {
  let at = startOf("agents/invoice-7c9d/6f1c");
  return bodies.map((body, index) => {
    const header: EventHeader = {
      stream: at.stream,
      seq: at.seq + 1,
      time: `2026-11-20T10:00:0${index}.000Z`,
      type: "operation",
      prev: at.hash,
      bodyHash: hashBody(body),
    };
    const hash = hashHeader(header);
    at = { stream: at.stream, seq: header.seq, hash };
    return { ...flattenEvent({ header, hash, body }) };
  });
}

const bodies: readonly EventBody[] = [
  {
    session: "01J",
    operation: {
      kind: "sql",
      summary: "SELECT \u20ac '\u{1f600}' \n",
      facts: { z: 1, a: [1.5, null, "x"] },
    },
  },
  { session: "01J", outcome: { status: "ok", rows: 3, durationMs: 0.25 } },
  { session: "01J", error: { code: "Denied", message: 'a "quoted" \\ rule' } },
];

async function verify(
  events: readonly Printed[],
): Promise<{ readonly code: number | null; readonly text: string }> {
  const child = spawn(process.execPath, [file], { stdio: ["pipe", "pipe", "pipe"] });
  let text = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk) => (text += String(chunk)));
  child.stdin.on("error", () => undefined);
  child.stdin.end(events.map((event) => JSON.stringify(event)).join("\n"));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, text };
}

test("the script agrees with what we write, bodies pruned or not", async () => {
  const events = printed(bodies);
  const { stream, seq, time, type, prev, bodyHash, hash } = events[1] ?? {};
  const pruned = events.with(1, { stream, seq, time, type, prev, bodyHash, hash });
  for (const given of [events, pruned]) {
    const { code, text } = await verify(given);
    assert.equal(code, 0, text);
    assert.match(text, /3 events in 1 streams, every link holds/);
  }
});

test("the script names an altered header, an altered body and a missing event", async () => {
  const events = printed(bodies);
  const cases: readonly (readonly [readonly Printed[], RegExp])[] = [
    [
      events.with(1, { ...events[1], time: "2026-11-20T11:00:00.000Z" }),
      /event 2: the header was altered/,
    ],
    [
      events.with(1, { ...events[1], outcome: { status: "denied" } }),
      /event 2: the body was altered/,
    ],
    [events.toSpliced(1, 1), /event 3: it does not follow event 1/],
  ];
  for (const [given, says] of cases) {
    const { code, text } = await verify(given);
    assert.equal(code, 1);
    assert.match(text, says);
  }
});
