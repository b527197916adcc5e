// Much of one thing through the whole proxy: a million rows, a gigabyte of COPY each way, one row at a time, fifty connections; beside a bare relay in Node.
//
//   node test/bench/streams.ts [share of the full size, 0 to 1 [part of a name: latency, memory, rows, copy]]
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import type { ChildProcess } from "node:child_process";
import { describePortal, frontend, message } from "../../proxy/postgres/messages.ts";
import { postgresAvailable, startPostgres } from "../integration/postgres-server.ts";
import type { PostgresServer } from "../integration/postgres-server.ts";
import { startChaperone } from "./chaperone.ts";
import type { Chaperone } from "./chaperone.ts";
import { Patience } from "./noise.ts";
import { pgbench } from "./pgbench.ts";
import { Wire } from "./postgres-wire.ts";
import type { WireLogin } from "./postgres-wire.ts";
import { end, firstMessage, installed, nodeFile, onProxyCore, pinLoad } from "./processes.ts";
import { count, leftOut, markdown, median, verdict } from "./table.ts";
import type { Row } from "./table.ts";

const rounds = 3;
const database = "postgres";
const rowsOfResult = 1_000_000;
const rowsOfSmallResult = 10_000;
const copyBytes = 1_000_000_000;
const singleRows = 2_000;
const busyConnections = 50;

function manifests(server: PostgresServer): string {
  const connection = (name: string): string => `
apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: ${name}, namespace: bench}
spec:
  protocol: postgres
  endpoint: {host: "${server.host}", port: ${server.port}, tls: {mode: Disable}}
  hosts: [${name}]
  postgres: {database: ${database}}
  credential:
    static: {secretRef: {name: login}, usernameKey: username, passwordKey: password}
---
apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: ${name}, namespace: bench}
spec:
  targetRefs: [{group: chaperone.dev, kind: Connection, name: ${name}}]
  subjects: [{serviceAccounts: [agent]}]
  rules:
    - {name: read, action: Allow, sql: {statements: [select, copy, insert], relations: ["public.*"]}}
    - {name: never-destroy, action: Deny, sql: {statements: [drop, truncate, delete]}}
    - {name: nor-others, action: Deny, sql: {statements: [select], relations: ["private.*"]}}`;
  return `
apiVersion: v1
kind: Secret
metadata: {name: login, namespace: bench}
stringData: {username: "${server.superuser}", password: "${server.password}"}
---${connection("open")}
---${connection("masked")}
  masking:
    - columns: [public.wide.note]
      transform: {partial: {keepLast: 4}}
`;
}

interface Parties {
  readonly server: PostgresServer;
  readonly chaperone: Chaperone;
  readonly relayPort: number;
  readonly share: number;
  readonly patience: Patience;
}

type Through = "open" | "masked" | "relay" | "direct";

function login({ server, chaperone, relayPort }: Parties, through: Through): WireLogin {
  const { superuser: user, password } = server;
  const port =
    through === "relay"
      ? relayPort
      : through === "direct"
        ? server.port
        : chaperone.port(`bench/${through}`);
  return { port, user, password, database };
}

/** Median seconds of `run` over rounds, the targets taking turns. */
async function turns(
  parties: Parties,
  targets: readonly Through[],
  work: (wire: Wire) => Promise<unknown>,
): Promise<Map<Through, number>> {
  const seconds = new Map<Through, number[]>(targets.map((target) => [target, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const target of targets) {
      const one = await parties.patience.quietly(async () => {
        const wire = await Wire.open(login(parties, target));
        const started = performance.now();
        await work(wire);
        const spent = (performance.now() - started) / 1_000;
        await wire.close();
        return spent;
      });
      seconds.get(target)?.push(one);
    }
  }
  return new Map([...seconds].map(([target, all]) => [target, median(all)]));
}

/** Highest resident memory so far, in MiB (VmHWM of proc(5)). */
async function peakMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? Number.NaN) / 1024;
}

async function rowsCase(parties: Parties): Promise<Row[]> {
  const rows = Math.round(rowsOfResult * parties.share);
  const first = (many: number): string =>
    `SELECT id, name, note, at FROM public.wide WHERE id <= ${many}`;
  const text = first(rows);
  // What any result needs, of Node's program file above all, is there before; what a large one needs on top is asked.
  await turns(parties, ["masked", "open"], (wire) => wire.ask(first(rowsOfSmallResult)));
  const before = await peakMiB(parties.chaperone.pid);
  const seconds = await turns(parties, ["masked", "open", "relay"], (wire) => wire.ask(text));
  const grown = (await peakMiB(parties.chaperone.pid)) - before;
  const rate = (target: Through): number => rows / (seconds.get(target) ?? Number.NaN);
  const row = (target: Through, what: string, floor: number | undefined): Row => {
    const ratio = rate(target) / rate("relay");
    return {
      what: `${count(rows)} rows of 4 columns, ${what}`,
      measured: `${count(rate(target))} rows/s`,
      ratio: `${ratio.toFixed(2)} of a bare relay (${count(rate("relay"))} rows/s)`,
      floor: floor === undefined ? "" : `${floor} of the relay`,
      goal: "",
      verdict: floor === undefined ? "no floor" : verdict(ratio >= floor, undefined),
    };
  };
  return [
    row("masked", "one masked", 0.6),
    row("open", "none masked", undefined),
    {
      what: `resident memory these results added at their peak to a proxy that had passed on results of ${count(rowsOfSmallResult)} rows`,
      measured: `${count(grown)} MiB`,
      ratio: "",
      floor: "30 MiB",
      goal: "",
      verdict: verdict(grown <= 30, undefined),
    },
  ];
}

async function copyCase(parties: Parties): Promise<Row[]> {
  const bytes = Math.round(copyBytes * parties.share);
  const line = `${"7".repeat(9)}\t${"x".repeat(88)}\n`;
  const out = await turns(parties, ["open", "relay"], (wire) =>
    wire.ask(`COPY public.wide TO STDOUT`),
  );
  const into = await turns(parties, ["open", "relay"], (wire) =>
    // Nothing is kept, so the disk is not what is measured.
    wire.copyIn(`COPY public.sink FROM STDIN WHERE id = 0`, line, bytes),
  );
  const row = (what: string, seconds: ReadonlyMap<Through, number>): Row => {
    const ratio = (seconds.get("relay") ?? Number.NaN) / (seconds.get("open") ?? Number.NaN);
    return {
      what,
      measured: `${(seconds.get("open") ?? Number.NaN).toFixed(1)} s`,
      ratio: `${ratio.toFixed(2)} of a bare relay's rate (${(seconds.get("relay") ?? Number.NaN).toFixed(1)} s)`,
      floor: "0.7 of the relay",
      goal: "",
      verdict: verdict(ratio >= 0.7, undefined),
    };
  };
  return [
    row("COPY TO STDOUT of the same million rows", out),
    row(`COPY FROM STDIN, ${count(bytes / 1_000_000)} MB`, into),
  ];
}

/** Parse once, then Bind, Describe, Execute and Sync for each row, as drivers with prepared statements do. */
async function latencyCase(parties: Parties): Promise<Row> {
  const parse = message(
    frontend.parse,
    Buffer.from("one\0SELECT id, name, note, at FROM public.wide WHERE id = $1\0\0\0", "latin1"),
  );
  const sync = message(frontend.sync, Buffer.alloc(0));
  const one = (id: number): Buffer => {
    const value = Buffer.from(String(id));
    const bind = Buffer.alloc(1 + 4 + 2 + 2 + 4 + value.length + 2);
    bind.write("\0one\0", 0, "latin1");
    bind.writeInt16BE(0, 5);
    bind.writeInt16BE(1, 7);
    bind.writeInt32BE(value.length, 9);
    value.copy(bind, 13);
    return Buffer.concat([
      message(frontend.bind, bind),
      describePortal(""),
      message(frontend.execute, Buffer.from([0, 0, 0, 0, 0])),
      sync,
    ]);
  };
  // Turn by turn, so that a disturbance, or code that is still cold, meets all of them; the first turn warms up.
  const times = new Map<Through, number[]>();
  for (let turn = 0; turn <= rounds; turn += 1) {
    for (const target of ["direct", "relay", "open", "masked"] as const) {
      const wire = await Wire.open(login(parties, target));
      await wire.exchange(Buffer.concat([parse, sync]));
      const those: number[] = [];
      for (let id = 1; id <= singleRows; id += 1) {
        const bytes = one(id);
        const started = performance.now();
        await wire.exchange(bytes);
        those.push(performance.now() - started);
      }
      if (turn > 0) times.set(target, [...(times.get(target) ?? []), median(those)]);
      await wire.close();
    }
  }
  const medians = new Map([...times].map(([target, all]) => [target, median(all)]));
  const ms = (target: Through): number => medians.get(target) ?? Number.NaN;
  const added = ms("open") - ms("direct");
  return {
    what: "latency added to one row at one connection, median",
    measured: `${added.toFixed(3)} ms; ${(ms("masked") - ms("direct")).toFixed(3)} ms with a mask`,
    ratio: `the relay adds ${(ms("relay") - ms("direct")).toFixed(3)} ms to ${ms("direct").toFixed(3)} ms`,
    floor: "0.15 ms",
    goal: "",
    verdict: verdict(added < 0.15, undefined),
    why: "a busy machine shows here first: compare with what the relay adds in the same run.",
  };
}

async function memoryCase(parties: Parties): Promise<Row> {
  const { port, user, password } = login(parties, "open");
  const seconds = Math.max(2, Math.round(8 * parties.share));
  let most = 0;
  const watch = setInterval(() => {
    void readFile(`/proc/${parties.chaperone.pid}/status`, "utf8").then((status) => {
      most = Math.max(most, Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024);
    });
  }, 100);
  try {
    await pgbench(
      { port, user, password, database, tls: false },
      "prepared",
      seconds,
      undefined,
      busyConnections,
    );
  } finally {
    clearInterval(watch);
  }
  return {
    what: `resident memory with ${busyConnections} busy connections`,
    measured: `${count(most)} MiB`,
    ratio: "",
    floor: "128 MiB",
    goal: "",
    verdict: verdict(most < 128, undefined),
    why: "80 MiB are there before anybody calls; at full speed the buffers of what is recorded wait for V8's next marking, and a session's own buffers are used again.",
  };
}

const parts: Readonly<Record<string, (parties: Parties) => Promise<Row[]>>> = {
  latency: async (parties) => [await latencyCase(parties)],
  memory: async (parties) => ((await installed("pgbench")) ? [await memoryCase(parties)] : []),
  rows: rowsCase,
  copy: copyCase,
};

export interface StreamsBench {
  readonly share?: number;
  /** Only the parts whose name begins so. */
  readonly only?: string;
  readonly patience?: Patience;
}

export async function streams({
  share = 1,
  only = "",
  patience = new Patience(),
}: StreamsBench = {}): Promise<Row[]> {
  if (!postgresAvailable()) return [leftOut("streams", "no PostgreSQL for this platform")];
  await pinLoad();
  const closers: (() => Promise<unknown>)[] = [];
  try {
    const server = await startPostgres({ settings: { shared_buffers: "256MB", fsync: "off" } });
    closers.push(() => server.stop());
    await prepare(server, share);
    const chaperone = await startChaperone(manifests(server));
    closers.push(() => chaperone.stop());
    const relay: ChildProcess = onProxyCore(nodeFile("relay.ts", [String(server.port)]), "ipc");
    closers.push(() => end(relay));
    const relayPort = await firstMessage<number>(relay, "the relay");
    const parties: Parties = { server, chaperone, relayPort, share, patience };
    const rows: Row[] = [];
    for (const [name, measure] of Object.entries(parts))
      if (name.startsWith(only)) rows.push(...(await measure(parties)));
    return rows;
  } finally {
    for (const close of closers.toReversed()) await close();
  }
}

async function prepare(server: PostgresServer, share: number): Promise<void> {
  const { superuser: user, password, port } = server;
  const wire = await Wire.open({ port, user, password, database });
  const rows = Math.round(rowsOfResult * share);
  await wire.ask(
    `CREATE UNLOGGED TABLE wide AS SELECT i AS id, 'customer number ' || i AS name, lpad((i::bigint * 7919)::text, 16, '4') AS note, now() AS at FROM generate_series(1, ${rows}) i`,
  );
  await wire.ask("CREATE UNIQUE INDEX ON wide (id)");
  await wire.ask("CREATE UNLOGGED TABLE sink (id int, filler text)");
  await wire.ask(
    "CREATE UNLOGGED TABLE pgbench_accounts AS SELECT i AS aid, i % 10 AS bid, 0 AS abalance, '' AS filler FROM generate_series(1, 100000) i",
  );
  await wire.ask("CREATE UNIQUE INDEX ON pgbench_accounts (aid)");
  await wire.ask("CREATE TABLE pgbench_branches AS SELECT 1 AS bid");
  await wire.ask("VACUUM ANALYZE");
  await wire.close();
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [share = "1", only = ""] = process.argv.slice(2);
  process.stdout.write(markdown(await streams({ share: Number(share), only })));
}
