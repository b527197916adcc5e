// One real server with two databases of the same beginning, one reached directly and one through the proxy, and a run of one case over both.
import { once } from "node:events";
import { connect } from "node:net";
import pg from "pg";
import { connectUpstream } from "../../proxy/postgres/upstream-hosts.ts";
import { cancelRequest, startupMessage } from "../../proxy/postgres/messages.ts";
import { deny, everything, startHarness } from "../integration/postgres-proxy-harness.ts";
import type { Harness } from "../integration/postgres-proxy-harness.ts";
import { RawClient } from "../integration/postgres-proxy-raw.ts";
import { postgresMajor, startPostgres } from "../integration/postgres-server.ts";
import type { PostgresServer } from "../integration/postgres-server.ts";
import { judge } from "./judge.ts";
import type { Mode, Verdict } from "./judge.ts";
import { play } from "./play.ts";
import type { Player } from "./play.ts";
import { reset, schema, state } from "./statements.ts";
import type { FuzzCase } from "./steps.ts";
import { startTap } from "./tap.ts";
import type { Tap } from "./tap.ts";

export interface World {
  /** Throws with what differs; returns how far the comparison went. */
  run(fuzzCase: FuzzCase, mode: Mode): Promise<Verdict>;
  close(): Promise<void>;
}

/** Longer than any case takes on a busy machine; a hang must fail. */
const caseDeadlineMs = 20_000;
const settings = { search_path: "public, pg_temp", client_encoding: "UTF8" };

export async function startWorld(): Promise<World> {
  // Servers before PostgreSQL 16 know no such setting, and take longer over each login.
  const settings = (await postgresMajor()) < 16 ? {} : { scram_iterations: "1" };
  const server = await startPostgres({ settings });
  try {
    return await furnish(server);
  } catch (error) {
    await server.stop();
    throw error;
  }
}

async function furnish(server: PostgresServer): Promise<World> {
  const postgres = await admin(server, "postgres");
  await postgres.query(`ALTER ROLE postgres PASSWORD '${server.password}'`);
  await postgres.query("CREATE DATABASE direct");
  const first = await admin(server, "direct");
  await first.query(schema);
  await first.query(reset);
  await first.end();
  await postgres.query("CREATE DATABASE proxied TEMPLATE direct");
  const direct = await admin(server, "direct");
  const proxied = await admin(server, "proxied");
  await proxied.query("CREATE TABLE forbidden (id int)");
  const { rows } = await direct.query("SELECT max(oid)::int + 1 AS next FROM pg_type");
  const tap = await startTap(server);
  const harness = await startHarness(server, { database: "proxied" });
  harness.setEndpoint({ port: tap.port });
  const rooms: Rooms = {
    server,
    harness,
    tap,
    direct,
    proxied,
    firstOwnOid: Number(rows[0].next),
    beginning: await stateOf(direct),
  };
  return {
    run: (fuzzCase, mode) => run(rooms, fuzzCase, mode),
    close: async () => {
      await Promise.all([postgres.end(), direct.end(), proxied.end()]);
      await harness.close();
      await tap.close();
      await server.stop();
    },
  };
}

interface Rooms {
  readonly server: PostgresServer;
  readonly harness: Harness;
  readonly tap: Tap;
  readonly direct: pg.Client;
  readonly proxied: pg.Client;
  readonly firstOwnOid: number;
  readonly beginning: string;
}

async function admin(server: PostgresServer, database: string): Promise<pg.Client> {
  const client = new pg.Client({
    host: server.host,
    port: server.port,
    user: server.superuser,
    password: server.password,
    database,
  });
  // A server that stops ends its sessions; without a listener that would end the process.
  client.on("error", () => undefined);
  await client.connect();
  return client;
}

async function run(rooms: Rooms, fuzzCase: FuzzCase, mode: Mode): Promise<Verdict> {
  const { harness, tap } = rooms;
  await begin(rooms, mode);
  const timer = new AbortController();
  const verdict = await Promise.race([
    compare(rooms, fuzzCase, mode),
    deadline(timer.signal),
  ]).finally(() => timer.abort());
  await within(tap.idle(), "the upstream connections of a case stay open");
  const unrecorded = await unrecordedOf(harness, tap);
  if (unrecorded !== undefined) throw new Error(unrecorded);
  return verdict;
}

async function begin({ harness, tap, direct, proxied, beginning }: Rooms, mode: Mode) {
  for (const client of [direct, proxied])
    if ((await stateOf(client)) !== beginning) await client.query(reset);
  harness.setRules(
    mode === "denied" ? [...everything, deny({ relations: ["public.forbidden"] })] : everything,
    { recording: { detail: "Full", strict: false, retentionDays: 1 } },
  );
  harness.events.length = 0;
  tap.forget();
}

async function compare(rooms: Rooms, fuzzCase: FuzzCase, mode: Mode): Promise<Verdict> {
  const [direct, proxied] = await Promise.all([
    named("directly", () => directly(rooms).then((player) => play(fuzzCase, player, false))),
    named("proxied", () => throughProxy(rooms).then((player) => play(fuzzCase, player, true))),
  ]);
  const verdict = judge(direct, proxied, mode);
  if (verdict.same === false) throw new Error(verdict.why);
  if (verdict.same !== true) return verdict;
  const [left, right] = [await stateOf(rooms.direct), await stateOf(rooms.proxied)];
  if (left !== right) throw new Error(`the databases differ:\n  ${left}\n  ${right}`);
  return verdict;
}

async function named<T>(which: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw new Error(`${which}: ${error instanceof Error ? error.message : "failed"}`, {
      cause: error,
    });
  }
}

async function stateOf(client: pg.Client): Promise<string> {
  const { rows } = await client.query(state);
  return String(rows[0].state);
}

/** Everything the server was made to run has an event that says what came of it. */
async function unrecordedOf(harness: Harness, tap: Tap): Promise<string | undefined> {
  const look = (): string | undefined => {
    const operations = harness.operations();
    const open = operations.filter(({ body }) => body.outcome === undefined);
    if (open.length > 0) return `${open.length} events have no outcome`;
    const run = operations.filter(({ body }) => body.outcome?.status !== "denied");
    if (run.length < tap.forwarded())
      return `${tap.forwarded()} statements were forwarded, ${run.length} recorded`;
    const texts = run.flatMap(({ contents }) => contents.map(({ text }) => text));
    const missing = tap.texts().find((text) => !texts.includes(text));
    return missing === undefined ? undefined : `no event has the forwarded text ${missing}`;
  };
  const until = Date.now() + 2_000;
  for (let why = look(); ; why = look()) {
    if (why === undefined || Date.now() > until) return why;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function deadline(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`the case took longer than ${caseDeadlineMs} ms`)),
      caseDeadlineMs,
    );
    signal.addEventListener("abort", () => clearTimeout(timer));
  });
}

async function within(wait: Promise<void>, what: string): Promise<void> {
  const timer = new AbortController();
  await Promise.race([
    wait,
    deadline(timer.signal).catch((error: unknown) => {
      throw new Error(what, { cause: error });
    }),
  ]).finally(() => timer.abort());
}

async function directly({ server, direct, firstOwnOid }: Rooms): Promise<Player> {
  const leg = await connectUpstream({
    connection: "fuzz/direct",
    endpoint: { host: server.host, port: server.port, tls: { mode: "Disable" }, basePath: "" },
    lease: { kind: "password", username: server.superuser, password: server.password },
    dial: async (host, port) => {
      const socket = connect({ host, port, allowHalfOpen: true, noDelay: true });
      await once(socket, "connect");
      return socket;
    },
    clientUser: "",
    database: "direct",
    settings: { ...settings, standard_conforming_strings: "on" },
    signal: AbortSignal.timeout(caseDeadlineMs),
  });
  const raw = new RawClient(leg.socket);
  leg.socket.resume();
  return { raw, firstOwnOid, cancelSleep: canceller(direct, server.port, leg.key) };
}

async function throughProxy({ harness, proxied, firstOwnOid }: Rooms): Promise<Player> {
  const socket = connect({
    port: harness.port,
    host: harness.host,
    noDelay: true,
    allowHalfOpen: true,
  });
  await once(socket, "connect");
  const raw = new RawClient(socket);
  raw.send(startupMessage({ user: "agent", database: "proxied" }));
  const key = (await raw.ready()).find(({ type }) => type === "K")?.body;
  return { raw, firstOwnOid, cancelSleep: canceller(proxied, harness.port, key) };
}

/** Looks whether the statement sleeps, and if so cancels it by its key and waits until it does not. */
function canceller(client: pg.Client, port: number, key: Buffer | undefined) {
  const sleeps = async (): Promise<boolean> => {
    const { rowCount } = await client.query(
      "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'",
    );
    return rowCount !== 0;
  };
  return async (): Promise<boolean> => {
    if (key === undefined || !(await sleeps())) return false;
    const socket = connect({ port, host: "127.0.0.1" });
    socket.on("error", () => undefined);
    socket.end(cancelRequest(key));
    socket.resume();
    await once(socket, "close");
    while (await sleeps()) await new Promise((resolve) => setTimeout(resolve, 2));
    return true;
  };
}
