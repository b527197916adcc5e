// Parameters bound through the protocol are part of the operation: rules look at them, people see them, and they are what was approved, in text and in binary.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import {
  allow,
  deny,
  everything,
  hold,
  startHarness,
  type Harness,
} from "./postgres-proxy-harness.ts";
import { errorsOf, rawClient, rowsOf, tagsOf } from "./postgres-proxy-raw.ts";
import { postgresAvailable, startPostgres, type PostgresServer } from "./postgres-server.ts";

const skip = postgresAvailable() ? false : "the embedded PostgreSQL is not installed";
let server: PostgresServer;
let proxy: Harness;

before(async () => {
  if (skip !== false) return;
  server = await startPostgres();
  const admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  await admin.query("CREATE TABLE paid (id int, at timestamptz, who text)");
  await admin.end();
  proxy = await startHarness(server);
});

after(async () => {
  await proxy?.close();
  await server?.stop();
});

const int4 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
};

/** Values as Buffers go out in binary. */
const ask = (text: string, values: readonly (string | Buffer)[], types: number[] = []): Buffer =>
  Buffer.concat([
    serialize.parse({ text, types }),
    serialize.bind({ values: [...values] }),
    serialize.execute({}),
    serialize.sync(),
  ]);

const notSeven = [
  allow({ statements: ["select"] }),
  {
    ...deny({ statements: ["select"] }, "not seven"),
    when: "params.size() > 0 && params[0] == '7'",
  },
];

test(
  "a rule that looks at a parameter sees its value in either format, by its declared or its inferred type",
  { skip },
  async () => {
    proxy.setRules(notSeven);
    const raw = await rawClient(proxy.port);
    for (const types of [[23], []])
      for (const value of ["7", int4(7)]) {
        // What the server infers is known once it has described the statement.
        raw.send(
          serialize.parse({ name: "s", text: "SELECT $1::int4", types }),
          serialize.describe({ type: "S", name: "s" }),
          serialize.sync(),
        );
        await raw.ready();
        const bound = (one: string | Buffer): Buffer =>
          Buffer.concat([
            serialize.bind({ statement: "s", values: [one] }),
            serialize.execute({}),
            serialize.sync(),
          ]);
        raw.send(bound(value), bound(typeof value === "string" ? "8" : int4(8)));
        const answers = await raw.ready(2);
        assert.deepEqual(errorsOf(answers), ["42501"], `${types.join()} ${typeof value}`);
        assert.deepEqual(rowsOf(answers), [["8"]], `${types.join()} ${typeof value}`);
        raw.send(serialize.close({ type: "S", name: "s" }), serialize.sync());
        await raw.ready();
      }
    await raw.end();
  },
);

test(
  "a rule that denies by a parameter is not passed by one whose value it cannot see",
  { skip },
  async () => {
    proxy.setRules(notSeven);
    const raw = await rawClient(proxy.port);
    // Nobody described it, so the type of the binary value is not known.
    raw.send(ask("SELECT $1::int4", [int4(7)]));
    const answers = await raw.ready();
    assert.deepEqual([rowsOf(answers), errorsOf(answers)], [[], ["42501"]]);
    await raw.end();
  },
);

test(
  "a held statement passes once with what was approved, although the rules changed meanwhile to others that hold it",
  { skip },
  async () => {
    const rules = [allow({ statements: ["select"] }), hold({ statements: ["insert"] }, 30)];
    proxy.setRules(rules);
    const raw = await rawClient(proxy.port);
    const insert = (value: number): Buffer =>
      ask("INSERT INTO paid (id) VALUES ($1)", [int4(value)], [23]);
    raw.send(insert(1));
    const seen = (): Promise<void> =>
      new Promise((resolve) => {
        const look = (): void => {
          if (proxy.requests.length > 0) resolve();
          else setTimeout(look, 10);
        };
        look();
      });
    await seen();
    assert.equal(proxy.requests[0]?.detail, '["1"]');
    proxy.setRules([...rules, allow({ statements: ["update"] }, "another")]);
    proxy.answerRequest("Approved");
    const answers = await raw.ready();
    assert.deepEqual([tagsOf(answers), errorsOf(answers)], [["INSERT 0 1"], []]);
    // Other parameters are another operation, and so are the same ones again.
    const asked = proxy.requests.length;
    raw.send(insert(2));
    while (proxy.requests.length === asked) await new Promise((resolve) => setTimeout(resolve, 10));
    proxy.answerRequest("Denied");
    assert.deepEqual(errorsOf(await raw.ready()), ["42501"]);
    await raw.end();
  },
);

test(
  "a statement that the rules came to deny while it was held does not run, approved or not",
  { skip },
  async () => {
    proxy.setRules([hold({ statements: ["insert"] }, 30)]);
    const raw = await rawClient(proxy.port);
    const asked = proxy.requests.length;
    raw.send(ask("INSERT INTO paid (id) VALUES ($1)", ["9"], [23]));
    while (proxy.requests.length === asked) await new Promise((resolve) => setTimeout(resolve, 10));
    proxy.setRules([...everything, deny({ statements: ["insert"] })]);
    proxy.answerRequest("Approved");
    assert.deepEqual(errorsOf(await raw.ready()), ["42501"]);
    raw.send(serialize.query("SELECT count(*) FROM paid WHERE id = 9"));
    assert.deepEqual(rowsOf(await raw.ready()), [["0"]]);
    await raw.end();
  },
);
