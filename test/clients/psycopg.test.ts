// psycopg 3, unmodified and over verified TLS, behind the proxy: the same results as straight from the server, and refusals it understands.
import assert from "node:assert/strict";
import { writeFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import pg from "pg";
import { allow, deny, everything, startHarness } from "../integration/postgres-proxy-harness.ts";
import type { Harness } from "../integration/postgres-proxy-harness.ts";
import { startPostgres } from "../integration/postgres-server.ts";
import type { PostgresServer } from "../integration/postgres-server.ts";
import { pythonPackages, runPython } from "./python.ts";

let directory: string;
let packages: string;
let server: PostgresServer;
let harness: Harness;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), "chaperone-psycopg-"));
  packages = await pythonPackages(["psycopg[binary]==3.3.9"]);
  server = await startPostgres({ tls: true });
  harness = await startHarness(server);
  await writeFile(join(directory, "server.pem"), server.caPem ?? "");
  await writeFile(join(directory, "proxy.pem"), harness.caPem);
});

after(async () => {
  await harness?.close();
  await server?.stop();
  await rm(directory, { recursive: true, force: true });
});

async function inDatabase(...statements: readonly string[]): Promise<void> {
  const client = new pg.Client({
    host: server.host,
    port: server.port,
    user: server.superuser,
    password: server.password,
    database: "postgres",
    ssl: { ca: server.caPem, servername: "localhost" },
  });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

const direct = (): string =>
  `host=localhost hostaddr=127.0.0.1 port=${server.port} dbname=postgres user=${server.superuser} password=${server.password} sslmode=verify-full sslrootcert=${join(directory, "server.pem")}`;

/** The login is the agent's own idea; the proxy replaces it. */
const proxied = (): string =>
  `host=localhost hostaddr=127.0.0.1 port=${harness.port} dbname=postgres user=agent password=guess sslmode=verify-full sslrootcert=${join(directory, "proxy.pem")}`;

test("every scene of an application ends as it does straight from the server", async () => {
  harness.setRules(everything);
  const results: unknown[] = [];
  for (const dsn of [direct(), proxied()]) {
    await inDatabase(
      "DROP TABLE IF EXISTS notes",
      "CREATE TABLE notes (id int PRIMARY KEY, note text)",
      "INSERT INTO notes VALUES (0, 'zero'), (1, 'one'), (2, NULL)",
    );
    results.push(await runPython("psycopg_scenes.py", [dsn], packages));
  }
  const [expected, seen] = results;
  assert.ok(typeof expected === "object" && expected !== null);
  assert.ok(Object.keys(expected).length > 15, "every scene was played");
  assert.deepEqual(seen, expected);
});

test("masked columns arrive masked in every format, a denial is an InsufficientPrivilege, and the connection goes on", async () => {
  await inDatabase(
    "DROP TABLE IF EXISTS people",
    "CREATE TABLE people (id int, name text, ssn text)",
    "INSERT INTO people VALUES (1, 'Ada', '078-05-1120'), (2, 'Grace', '219-09-9999')",
  );
  harness.setRules(
    [
      allow({ statements: ["select"], relations: ["public.*"] }),
      { ...deny({ statements: ["drop", "delete"] }, "never"), message: "Ask the data team." },
    ],
    {
      columnMasks: [
        {
          column: "public.people.ssn",
          transform: { kind: "partial", keepFirst: 0, keepLast: 4 },
          policy: "agents/invoice-agent",
        },
      ],
    },
  );
  const rows = Array.from({ length: 8 }, () => ["Ada", "*******1120"]);
  assert.deepEqual(await runPython("psycopg_policy.py", [proxied()], packages), {
    "masked, prepare=False, binary=False": rows,
    "masked, prepare=False, binary=True": rows,
    "masked, prepare=True, binary=False": rows,
    "masked, prepare=True, binary=True": rows,
    denied: ["InsufficientPrivilege", "42501", "Ask the data team."],
    state: "INERROR",
    after: 2,
    "denied in a pipeline": "42501",
    "at the end": 2,
  });
});
