// Random pipelines that try to confuse names, transactions and result shapes: nothing denied runs, no masked value comes out.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import pg from "pg";
import { serialize } from "pg-protocol";
import { deny, everything, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { rawClient, rowsOf } from "./postgres-proxy-raw.ts";
import type { Answer } from "./postgres-proxy-raw.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";
import { cases } from "./search-length.ts";

/** A pipeline has up to 25 steps, half of them those that matter most. */
const runs = cases(80);
const secret = "123-45-6789";
/** Leaves a trace that no rollback takes away. */
const forbidden = "SELECT nextval('public.forbidden')";

const failing = "SELECT no_such_column FROM secrets";

const texts = [
  forbidden,
  "SELECT 1",
  "SELECT ssn FROM secrets",
  "SELECT note, ssn FROM secrets",
  "SELECT note FROM secrets",
  failing,
  "BEGIN",
  "COMMIT",
  "ROLLBACK",
  "DEALLOCATE a",
  "DEALLOCATE ALL",
  "DISCARD ALL",
  `PREPARE a AS ${forbidden}`,
  "PREPARE a AS SELECT ssn FROM secrets",
  `DEALLOCATE a; PREPARE a AS ${forbidden}`,
  "DEALLOCATE a; PREPARE a AS SELECT ssn FROM secrets",
  "EXECUTE a",
  `DECLARE a CURSOR WITH HOLD FOR ${forbidden}`,
  "DECLARE a CURSOR FOR SELECT ssn FROM secrets",
  "CLOSE a; DECLARE a CURSOR FOR SELECT ssn FROM secrets",
  "CLOSE ALL",
  "FETCH 1 FROM a",
  "SET application_name = 'x'",
];
const kind = fc.constantFrom("S" as const, "P" as const);
const name = fc.constantFrom("", "", "", "a");
/** The server has answered what was sent before; names are settled then. An own buffer: it is told apart by identity. */
const pause = Buffer.from(serialize.sync());

/** Half of the steps are what drivers send, a name prepared and a name run, with the texts that matter most. */
function pipelines(sharp: readonly string[]): fc.Arbitrary<Buffer[]> {
  const text = fc.constantFrom(...texts);
  const parse = (statement: string, sql: string): Buffer =>
    serialize.parse({ name: statement, text: sql, types: [] });
  const step: fc.Arbitrary<Buffer> = fc.oneof(
    {
      weight: 8,
      arbitrary: fc
        .tuple(name, fc.constantFrom(...sharp))
        .map(([statement, sql]) => Buffer.concat([parse(statement, sql), serialize.sync()])),
    },
    {
      weight: 8,
      arbitrary: name.map((statement) =>
        Buffer.concat([serialize.bind({ statement }), serialize.execute({}), serialize.sync()]),
      ),
    },
    { weight: 4, arbitrary: fc.constant(pause) },
    { weight: 3, arbitrary: fc.tuple(name, text).map(([statement, sql]) => parse(statement, sql)) },
    {
      weight: 3,
      arbitrary: fc
        .tuple(name, name, fc.boolean())
        .map(([statement, portal, binary]) => serialize.bind({ statement, portal, binary })),
    },
    {
      weight: 3,
      arbitrary: fc
        .tuple(name, fc.constantFrom(0, 1))
        .map(([portal, rows]) => serialize.execute({ portal, rows })),
    },
    {
      weight: 1,
      arbitrary: fc
        .tuple(kind, name)
        .map(([type, target]) => serialize.describe({ type, name: target })),
    },
    {
      weight: 1,
      arbitrary: fc
        .tuple(kind, name)
        .map(([type, target]) => serialize.close({ type, name: target })),
    },
    { weight: 2, arbitrary: fc.constant(serialize.sync()) },
    { weight: 1, arbitrary: fc.constant(serialize.flush()) },
    { weight: 3, arbitrary: text.map((sql) => serialize.query(sql)) },
  );
  return fc.array(step, { minLength: 4, maxLength: 25 });
}

let server: PostgresServer;
let proxy: Harness;
let admin: pg.Client;

before(async () => {
  server = await startPostgres();
  admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  await admin.query(
    `CREATE SEQUENCE forbidden; CREATE TABLE secrets (note text, ssn text); INSERT INTO secrets VALUES ('n', '${secret}')`,
  );
  proxy = await startHarness(server);
});

after(async () => {
  await admin?.end();
  await proxy?.close();
  await server?.stop();
});

const ending = Buffer.concat([
  serialize.sync(),
  serialize.query("ROLLBACK"),
  serialize.query("SELECT 'the end'"),
]);

const settleMs = 8;

async function play(steps: readonly Buffer[]): Promise<Answer[]> {
  const raw = await rawClient(proxy.port);
  const answers: Answer[] = [];
  let together: Buffer[] = [];
  for (const step of steps) {
    together.push(step);
    if (step !== pause) continue;
    raw.send(...together.splice(0));
    answers.push(...(await raw.until((all) => all.at(-1)?.type === "Z")));
    await new Promise((resolve) => setTimeout(resolve, settleMs));
  }
  raw.send(...together, ending);
  answers.push(
    ...(await raw.until(
      (all) =>
        all.at(-1)?.type === "Z" && rowsOf(all.slice(-4)).some(([cell]) => cell === "the end"),
    )),
  );
  await raw.end();
  return answers;
}

test("whatever the pipeline, a denied function never runs", async () => {
  // A rule with a condition: its Parse passes, so the server holds the denied statement under a name.
  proxy.setRules([
    ...everything,
    { ...deny({ functions: ["nextval"] }), when: "session.operations >= 0" },
  ]);
  await fc.assert(
    fc.asyncProperty(pipelines([forbidden, "SELECT 1", failing]), async (steps) => {
      await play(steps);
      const { rows } = await admin.query("SELECT is_called FROM forbidden");
      assert.equal(rows[0].is_called, false);
    }),
    { numRuns: runs },
  );
});

test("whatever the pipeline, a masked value never comes out", async () => {
  proxy.setRules(everything, {
    columnMasks: [{ column: "public.secrets.ssn", transform: { kind: "redact" }, policy: "p" }],
    recording: { detail: "Full", strict: false, retentionDays: 1 },
  });
  let shown = 0;
  await fc.assert(
    fc.asyncProperty(
      pipelines(["SELECT ssn FROM secrets", "SELECT note FROM secrets", failing]),
      async (steps) => {
        const answers = await play(steps);
        for (const { body } of answers) {
          assert.equal(body.includes(secret), false);
          if (body.includes("[redacted]")) shown += 1;
        }
      },
    ),
    { numRuns: runs },
  );
  assert.ok(shown > 0, "the masked column was read at all");
  assert.equal(JSON.stringify(proxy.events).includes(secret), false);
});
