// Rows on their way: the first leaves before the second is there, whatever looks at them; and what a COPY carried is recorded by size and digest.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import type { EventOutcome } from "../../contract/event.ts";
import type { Bundle } from "../../policy/bundle.ts";
import { everything, startHarness, type Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, rawClient, rowsOf } from "./postgres-proxy-raw.ts";
import type { Answer } from "./postgres-proxy-raw.ts";
import { postgresAvailable, startPostgres, type PostgresServer } from "./postgres-server.ts";

const skip = postgresAvailable() ? false : "the embedded PostgreSQL is not installed";
const columns: Partial<Bundle> = {
  columnMasks: [{ column: "public.*.ssn", transform: { kind: "redact" }, policy: "agents/p" }],
};
const detectors: Partial<Bundle> = {
  detectMasks: [{ detector: "us-ssn", transform: { kind: "redact" }, policy: "agents/p" }],
};
const full: Partial<Bundle> = {
  recording: { detail: "Full", strict: false, retentionDays: 30 },
};

let server: PostgresServer;
let proxy: Harness;
let admin: pg.Client;

before(async () => {
  if (skip !== false) return;
  server = await startPostgres();
  admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  // The server itself keeps up to 8 KiB back, so two rows are longer than that.
  await admin.query(`
    CREATE TABLE people (id int PRIMARY KEY, ssn text, filler text);
    ALTER TABLE people ALTER filler SET STORAGE PLAIN;
    INSERT INTO people SELECT n, '123-45-678' || n, repeat('x', 7000) FROM generate_series(1, 4) n;
    CREATE TABLE copied (id int, ssn text, filler text);
    INSERT INTO copied VALUES (1, '123-45-6789', 'x')`);
  proxy = await startHarness(server);
});

after(async () => {
  await admin?.end();
  await proxy?.close();
  await server?.stop();
});

for (const [what, changes] of [
  ["nothing", {}],
  ["masks of columns", columns],
  ["detectors", detectors],
  ["a full recording", { ...columns, ...full }],
] as const)
  for (const binary of [false, true])
    test(
      `the first row of a result leaves before the last is there, under ${what}, ${binary ? "binary" : "text"}`,
      { skip },
      async () => {
        proxy.setRules(everything, changes);
        const raw = await rawClient(proxy.port);
        await admin.query("BEGIN");
        await admin.query("SELECT FROM people WHERE id = 4 FOR UPDATE");
        const rows = (answers: readonly Answer[]): number =>
          answers.filter(({ type }) => type === "D").length;
        try {
          raw.send(
            serialize.parse({ text: "SELECT ssn, filler FROM people ORDER BY id FOR UPDATE" }),
            serialize.bind({ binary }),
            serialize.execute({}),
            serialize.sync(),
          );
          // The server waits for the lock on the last row.
          await raw.until((answers) => rows(answers) >= 2);
        } finally {
          await admin.query("ROLLBACK");
        }
        assert.ok(rows(await raw.ready()) > 0);
        await raw.end();
      },
    );

const digestOf = (data: Buffer): EventOutcome["copied"] => ({
  sha256: `sha256-${createHash("sha256").update(data).digest("base64url")}`,
  bytes: data.length,
});
const dataOf = (answers: readonly Answer[]): Buffer =>
  Buffer.concat(answers.filter(({ type }) => type === "d").map(({ body }) => body));
const recorded = (): EventOutcome["copied"] => proxy.operations().at(-1)?.body.outcome?.copied;

test(
  "with a full recording the event of a COPY has size and digest of what it carried, and else not",
  { skip },
  async () => {
    proxy.setRules(everything, full);
    const raw = await rawClient(proxy.port);
    const parts = ["5\tone\t\\N\n", `6\ttwo\t${"x".repeat(300_000)}\n`, "7\tthree\t\\N\n"].map(
      (text) => Buffer.from(text),
    );
    raw.send(serialize.query("COPY copied FROM STDIN"));
    await raw.until((answers) => answers.some(({ type }) => type === "G"));
    // A message in pieces, at every kind of border.
    const bytes = Buffer.concat([
      ...parts.map((part) => serialize.copyData(part)),
      serialize.copyDone(),
    ]);
    for (const [start, end] of [
      [0, 3],
      [3, 17],
      [17, 40],
      [40, 200_000],
      [200_000, bytes.length],
    ] as const) {
      raw.send(bytes.subarray(start, end));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.deepEqual(errorsOf(await raw.ready()), []);
    assert.deepEqual(recorded(), digestOf(Buffer.concat(parts)));

    for (const [format, changes] of [
      ["", full],
      ["(FORMAT binary)", full],
      ["", { ...columns, ...full }],
      ["(FORMAT csv, HEADER)", { ...columns, ...full }],
      ["(FORMAT binary)", { ...columns, ...full }],
    ] as const) {
      proxy.setRules(everything, changes);
      raw.send(serialize.query(`COPY copied TO STDOUT ${format}`));
      const answers = await raw.ready();
      assert.deepEqual(errorsOf(answers), []);
      const data = dataOf(answers);
      if ("columnMasks" in changes) assert.equal(data.includes("123-45-678"), false);
      assert.deepEqual(recorded(), digestOf(data), format);
    }

    proxy.setRules(everything);
    raw.send(serialize.query("COPY copied TO STDOUT"));
    await raw.ready();
    assert.equal(recorded(), undefined);
    raw.send(serialize.query("SELECT 1"));
    assert.deepEqual(rowsOf(await raw.ready()), [["1"]]);
    await raw.end();
  },
);
