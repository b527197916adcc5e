// Rules with `sql.detect` before a real server: whatever position, format and type a value is sent in, it is found or refused, at each Bind anew.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
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
import { errorsOf, rawClient, typesOf, type Answer, type RawClient } from "./postgres-proxy-raw.ts";
import { startPostgres, type PostgresServer } from "./postgres-server.ts";

const card = "4111111111111111";
const denies = deny({ detect: ["credit-card"] }, "no cards");

let server: PostgresServer;
let proxy: Harness;
let admin: pg.Client;
let client: RawClient;

before(async () => {
  server = await startPostgres();
  admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  await admin.query("CREATE TABLE kept (said text); CREATE DOMAIN number AS text");
  proxy = await startHarness(server);
});

beforeEach(() => {
  proxy.events.length = 0;
  proxy.setRules([...everything, denies]);
});

after(async () => {
  await admin.end();
  await proxy.close();
  await server.close();
});

async function withClient(run: () => Promise<void>): Promise<void> {
  client = await rawClient(proxy.port, "postgres");
  try {
    await run();
  } finally {
    client.end();
  }
}
