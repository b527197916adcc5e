import assert from "node:assert/strict";
import { test } from "node:test";
import { denied, Recorder, statement, subject } from "../../test/integration/audit-recorder.ts";
import { alignTable, eventLine, sessionColumns, sessionRow, summaryOf } from "./format.ts";
import { maxTextLines, renderFrame } from "./render.ts";
import { maxPauseMs, play, replay, type ReplayFrame } from "./replay.ts";
import { cells } from "./terminal.ts";

const model = (summary: string, durationMs: number) =>
  statement("llm", summary, {
    connection: { namespace: "agents", name: "openai", protocol: "openai" },
    operation: { kind: "llm", summary },
    outcome: { status: "ok", httpStatus: 200, tokens: { input: 12, output: 5 }, durationMs },
  });

/** Two sessions of one pod: a prompt, the statement the model asked for, what came back, and one that was refused. */
function conversation() {
  const recorder = new Recorder("agents/invoice-7c9d/6f1c").add(
    {
      type: "session-start",
      body: {
        session: "llm",
        subject,
        connection: { namespace: "agents", name: "openai", protocol: "openai" },
      },
      at: 0,
    },
    {
      body: model("chat gpt-5", 400),
      at: 500,
      contents: [
        { part: "request", text: "how many orders?" },
        { part: "response", text: "call sql(SELECT count(*) FROM orders)" },
      ],
    },
    { type: "intent", body: statement("db", "SELECT count(*) FROM orders"), at: 600 },
    {
      body: { ...statement("db", "SELECT count(*) FROM orders"), intent: 3 },
      at: 650,
      contents: [{ part: "rows", text: "count\n42" }],
    },
    { body: denied("db", "DROP TABLE orders"), at: 700 },
    { type: "intent", body: statement("db", "UPDATE orders SET paid = true"), at: 800 },
    {
      body: model("chat gpt-5", 100),
      at: 1_000,
      contents: [
        { part: "request", text: "42" },
        { part: "response", text: "There are 42." },
      ],
    },
  );
  return replay(
    recorder.records.map(({ event }) => event),
    recorder.batch().contents,
  );
}

const told = (frames: readonly ReplayFrame[]): readonly string[] =>
  frames.map((frame) => `${frame.offsetMs} ${frame.connection} ${frame.label}`);

test("sessions of one pod become one timeline: prompt, answer, statement, rows, verdict", () => {
  assert.deepEqual(told(conversation()), [
    "0 openai session-start",
    "100 openai prompt",
    "100 openai allow",
    "500 openai answer",
    "600 orders-db statement",
    "600 orders-db allow",
    "650 orders-db rows",
    "700 orders-db statement",
    "700 orders-db deny",
    "800 orders-db unknown",
    "900 openai prompt",
    "900 openai allow",
    "1000 openai answer",
  ]);
});

test("an operation begins at its intent, and an intent without an operation is an unknown outcome", () => {
  const frames = conversation();
  const unknown = frames.find((frame) => frame.label === "unknown");
  assert.equal(unknown?.summary, "outcome unknown: UPDATE orders SET paid = true");
  assert.equal(frames.filter((frame) => frame.summary === "SELECT count(*) FROM orders").length, 1);
});

test("a frame shows time, connection, label and text in columns, and says why something was refused", () => {
  const lines = conversation()
    .map((frame) => renderFrame(frame, { color: false, width: 100 }))
    .join("")
    .split("\n");
  assert.ok(
    lines.includes("+0.100s    openai            prompt         [summarise] chat gpt-5"),
    lines.join("\n"),
  );
  assert.ok(lines.includes(`${" ".repeat(44)}│ how many orders?`));
  assert.ok(lines.includes("+0.650s    orders-db         rows           1 row, 0.9 ms"));
  assert.ok(lines.includes(`${" ".repeat(44)}│ 42`));
  assert.ok(lines.some((line) => /deny +agents\/invoice-agent rule never-destroy: no$/.test(line)));
});

test("recorded text cannot drive the terminal, reach another column or fill the screen", () => {
  const evil = "\u001b]0;owned\u0007\u001b[2J\r+0.000s  allow \u202e";
  const recorder = new Recorder("agents/p/1").add({
    body: statement("s", evil, {
      subject: { ...subject, chain: evil },
      connection: { namespace: "agents", name: evil, protocol: "postgres" },
    }),
    contents: [{ part: "rows", text: `${evil}\n`.repeat(500) }],
  });
  const events = recorder.records.map(({ event }) => event);
  const frames = replay(events, recorder.batch().contents);
  const text =
    frames.map((frame) => renderFrame(frame, { color: false, width: 80 })).join("") +
    events.map((event) => eventLine(event)).join("");
  assert.doesNotMatch(text.replaceAll("\n", ""), /[\p{Cc}\p{Cf}]/u);
  assert.ok(text.split("\n").length < maxTextLines + 40);
  assert.match(text, /more lines/);
  for (const frame of frames)
    for (const line of renderFrame(frame, { color: false, width: 80 }).split("\n"))
      assert.ok(cells(line) <= 80, line);
});

test("playing keeps the time between frames, divided by the speed, and never waits long", async () => {
  const slept: number[] = [];
  const written: string[] = [];
  const options = {
    wait: true,
    write: (text: string) => void written.push(text),
    sleep: async (ms: number) => void slept.push(ms),
  };
  const frames = conversation();
  await play(frames, { ...options, speed: 2 });
  assert.deepEqual(slept, [50, 200, 50, 25, 25, 50, 50, 50]);
  assert.equal(written.length, frames.length);
  slept.length = 0;
  const [first] = frames;
  assert.ok(first !== undefined);
  await play([first, { ...first, offsetMs: 3_600_000 }], { ...options, speed: 1 });
  assert.deepEqual(slept, [maxPauseMs]);
});

test("playing without waiting shows everything at once, and an abort ends it early", async () => {
  const written: string[] = [];
  const frames = conversation();
  await play(frames, { speed: 1, wait: false, write: (text) => void written.push(text) });
  assert.equal(written.length, frames.length);
  const stop = new AbortController();
  const start = performance.now();
  const until: string[] = [];
  await play(frames, {
    speed: 0.001,
    wait: true,
    signal: stop.signal,
    write: (text) => {
      until.push(text);
      setTimeout(() => stop.abort(), 5);
    },
  });
  assert.equal(until.length, 1);
  assert.ok(performance.now() - start < 2_000);
});

test("events are one line each, with what came of them", () => {
  const recorder = new Recorder("agents/invoice-7c9d/6f1c").add(
    {
      body: statement("s", "SELECT id FROM orders", {
        outcome: {
          status: "ok",
          rows: 2,
          durationMs: 12.6,
          masked: { columns: ["public.customers.ssn"], detected: { email: 2 } },
        },
      }),
    },
    { body: denied("s", "DROP TABLE orders") },
    { type: "gap", body: { gap: { from: 3, to: 3, reason: "the proxy ended" } } },
    {
      type: "request-decided",
      body: { request: { name: "ar-1", verdict: "Approved", by: "jo", reason: "fine" } },
    },
  );
  const [allowed = "", refused = "", gap = "", decided = ""] = recorder.records.map(({ event }) =>
    eventLine(event),
  );
  assert.equal(
    allowed,
    "2026-11-20T10:00:00.000Z  allow            agents/orders-db        invoice-agent:summarise   SELECT id FROM orders  | 2 rows, 13 ms, masked public.customers.ssn 2 email",
  );
  assert.match(
    refused,
    /deny .* DROP TABLE orders {2}\| RuleMatched \(agents\/invoice-agent never-destroy\)$/,
  );
  assert.match(gap, /gap .* events 3 to 3: the proxy ended$/);
  assert.match(decided, /request-decided .* ar-1 Approved by jo fine$/);
  const [record] = recorder.records;
  assert.ok(record !== undefined);
  assert.equal(cells(eventLine(record.event, { width: 60 })), 60);
  assert.ok(eventLine(record.event, { color: true }).includes("\u001b[32mallow\u001b[0m"));
  assert.equal(summaryOf({ ...record.event, body: {} }), "(pruned)");
});

test("sessions align in columns", () => {
  const row = sessionRow({
    id: "01J",
    namespace: "agents",
    serviceAccount: "invoice-agent",
    pod: "p",
    podUid: "u",
    connection: "agents/orders-db",
    protocol: "postgres",
    started: "2026-11-20T10:00:00.000Z",
    last: "2026-11-20T10:00:01.000Z",
    ended: false,
    operations: 3,
    denied: 1,
    held: 0,
    masked: 2,
    chain: "a\u001bb",
  });
  assert.equal(row.length, sessionColumns.length);
  const [header = "", line = ""] = alignTable(sessionColumns, [row]).split("\n");
  assert.equal(header.indexOf("CONNECTION"), line.indexOf("agents/orders-db"));
  assert.match(line, /a\\x1bb/);
});
