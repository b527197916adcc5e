// pgbench against a real PostgreSQL: through the whole proxy on one core, through PgBouncer in session mode on the same core, and straight.
//
//   node test/bench/postgres.ts [seconds [part of a row's name [alone]]]
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { postgresAvailable, startPostgres } from "../integration/postgres-server.ts";
import type { PostgresServer } from "../integration/postgres-server.ts";
import { startChaperone } from "./chaperone.ts";
import type { Chaperone } from "./chaperone.ts";
import { Patience } from "./noise.ts";
import { fill, pgbench } from "./pgbench.ts";
import type { Mode } from "./pgbench.ts";
import { startPgBouncer } from "./pgbouncer.ts";
import { installed, pinLoad, processorMs } from "./processes.ts";
import { count, leftOut, markdown, median, verdict } from "./table.ts";
import type { Row } from "./table.ts";

const rounds = 5;
const warmSeconds = 2;
const scale = 10;
const database = "postgres";
const goal = 0.9;
const shipWithinMs = 60_000;
/** From profiles of the proxy alone, and of the room alone (postgres-room.ts). */
const whyMissed =
  "PgBouncer's whole time is about that of our four system calls a statement, which are half of ours with what Node needs around them; the event with its way to the disk and to the operator is a quarter, reading, deciding, masking and counting the rest.";

interface Case {
  readonly what: string;
  readonly mode: Mode;
  readonly tls: boolean;
  readonly masked: boolean;
  /** Of PgBouncer's transactions a second. */
  readonly floor: number | undefined;
}

const plain = { tls: false, masked: false } as const;
const cases: readonly Case[] = [
  { what: "simple, literals change", mode: "simple", ...plain, floor: 0.4 },
  { what: "extended", mode: "extended", ...plain, floor: 0.5 },
  { what: "prepared", mode: "prepared", ...plain, floor: 0.5 },
  {
    what: "prepared, TLS to the client",
    mode: "prepared",
    tls: true,
    masked: false,
    floor: undefined,
  },
  {
    what: "prepared, one of three columns masked",
    mode: "prepared",
    tls: false,
    masked: true,
    floor: undefined,
  },
];

interface Target {
  readonly name: "chaperone" | "pgbouncer" | "direct";
  readonly port: (one: Case) => number;
  readonly pid: number | undefined;
  readonly password: string;
}

interface Measured {
  readonly perSecond: number;
  readonly cpuUs: number;
}

/** Eight kinds of things that no agent may do, so that every statement is held against ten rules. */
const denials = [
  "{statements: [drop, truncate]}",
  '{statements: [delete], relations: ["public.*"]}',
  "{statements: [update], hasWhere: false}",
  "{statements: [grant, revoke, alter]}",
  '{statements: [copy], relations: ["private.*"]}',
  '{statements: [select], relations: ["private.*", public.salaries]}',
  "{columns: [public.pgbench_tellers.filler]}",
  '{functions: [pg_sleep, "dblink*"]}',
];

/** Ten rules, one masked column, every statement recorded. */
function manifests(server: PostgresServer): string {
  const denied = denials.map((sql, at) => `    - {name: deny-${at}, action: Deny, sql: ${sql}}`);
  return `
apiVersion: v1
kind: Secret
metadata: {name: accounts, namespace: bench}
stringData: {username: "${server.superuser}", password: "${server.password}"}
---
apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: accounts, namespace: bench}
spec:
  protocol: postgres
  endpoint: {host: "${server.host}", port: ${server.port}, tls: {mode: Disable}}
  hosts: [accounts]
  postgres: {database: ${database}}
  credential:
    static: {secretRef: {name: accounts}, usernameKey: username, passwordKey: password}
---
apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: accounts, namespace: bench}
spec:
  targetRefs: [{group: chaperone.dev, kind: Connection, name: accounts}]
  subjects: [{serviceAccounts: [agent]}]
  rules:
    - {name: read, action: Allow, sql: {statements: [select], relations: ["public.pgbench_*"]}}
    - {name: history, action: Allow, sql: {statements: [insert], relations: [public.pgbench_history]}}
${denied.join("\n")}
  masking:
    - columns: [public.pgbench_accounts.filler]
      transform: {partial: {keepLast: 4}}
`;
}

const maskedScript = `\\set aid random(1, ${scale * 100_000})
SELECT aid, abalance, filler FROM pgbench_accounts WHERE aid = :aid;
`;

export interface PostgresBench {
  readonly seconds?: number;
  /** Only the cases whose name begins so. */
  readonly only?: string;
  /** Without its peers, to look at it closely: BENCH_NODE_ARGS="--cpu-prof" goes to the proxy. */
  readonly alone?: boolean;
  readonly patience?: Patience;
}

export async function postgres({
  seconds = 2,
  only = "",
  alone = false,
  patience = new Patience(),
}: PostgresBench = {}): Promise<Row[]> {
  if (!postgresAvailable()) return [leftOut("PostgreSQL", "no PostgreSQL for this platform")];
  if (!(await installed("pgbench"))) return [leftOut("PostgreSQL", "pgbench is not installed")];
  await pinLoad();
  const folder = await mkdtemp(join(tmpdir(), "chaperone-bench-postgres-"));
  const closers: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true })];
  try {
    const server = await startPostgres({ settings: { shared_buffers: "256MB" } });
    closers.push(() => server.stop());
    const login = { user: server.superuser, password: server.password, database, tls: false };
    await fill({ ...login, port: server.port }, scale);
    const chaperone = await startChaperone(manifests(server));
    closers.push(() => chaperone.stop());
    const targets: Target[] = [
      {
        name: "chaperone",
        port: () => chaperone.port("bench/accounts"),
        pid: chaperone.pid,
        password: "any",
      },
    ];
    if (!alone) {
      if (await installed("pgbouncer")) {
        const bouncer = await startPgBouncer(server, database, folder);
        closers.push(() => bouncer.stop());
        const { port, pid } = bouncer;
        targets.push({ name: "pgbouncer", port: () => port, pid, password: server.password });
      }
      const { port, password } = server;
      targets.push({ name: "direct", port: () => port, pid: undefined, password });
    }
    const script = join(folder, "masked.sql");
    await writeFile(script, maskedScript);
    const rows: Row[] = [];
    for (const one of cases.filter(({ what }) => what.startsWith(only)))
      rows.push(
        rowOf(one, await compare({ one, targets, chaperone, server, script, seconds, patience })),
      );
    return rows;
  } finally {
    for (const close of closers.toReversed()) await close();
  }
}

interface Comparison {
  readonly one: Case;
  readonly targets: readonly Target[];
  readonly chaperone: Chaperone;
  readonly server: PostgresServer;
  readonly script: string;
  readonly seconds: number;
  readonly patience: Patience;
}

/** Turn by turn, so that a disturbance meets all of them. */
async function compare(of: Comparison): Promise<Map<string, Measured[]>> {
  // PostgreSQL itself stands here without TLS: there is nothing straight to compare that row with.
  const those = of.targets.filter(({ name }) => name !== "direct" || !of.one.tls);
  const results = new Map<string, Measured[]>(those.map(({ name }) => [name, []]));
  for (const target of those) await measure(of, target, warmSeconds);
  for (let round = 0; round < rounds; round += 1) {
    for (const target of those) {
      const measured = await of.patience.quietly(() => measure(of, target, of.seconds));
      results.get(target.name)?.push(measured);
    }
  }
  return results;
}

async function measure(
  { one, chaperone, server, script }: Comparison,
  target: Target,
  seconds: number,
): Promise<Measured> {
  if (!(await chaperone.shipped(shipWithinMs)))
    throw new Error(`the store lacks events ${shipWithinMs} ms after the last transaction`);
  const before = await chaperone.allowed();
  const spentBefore = await spent(target);
  const { user, password } = { user: server.superuser, password: target.password };
  const { perSecond, transactions } = await pgbench(
    { port: target.port(one), user, password, database, tls: one.tls },
    one.mode,
    seconds,
    one.masked ? script : undefined,
  );
  const spentMs = (await spent(target)) - spentBefore;
  // What is not decided is not measured.
  const decided = (await chaperone.allowed()) - before;
  if (target.name === "chaperone" && decided < transactions)
    throw new Error(`${transactions} transactions went through and ${decided} were decided`);
  return { perSecond, cpuUs: (spentMs * 1_000) / transactions };
}

async function spent({ pid }: Target): Promise<number> {
  return pid === undefined ? Number.NaN : processorMs(pid);
}

function rowOf(one: Case, results: ReadonlyMap<string, readonly Measured[]>): Row {
  const mid = (name: string, field: keyof Measured): number =>
    median((results.get(name) ?? []).map((measured) => measured[field]));
  const share = (name: string): number => mid("chaperone", "perSecond") / mid(name, "perSecond");
  const bouncer = share("pgbouncer");
  const known = !Number.isNaN(bouncer);
  return {
    what: `pgbench -c8, ${one.what}`,
    measured: `${count(mid("chaperone", "perSecond"))}/s, ${count(mid("chaperone", "cpuUs"))} µs of processor`,
    ratio: [...results.keys()]
      .filter((name) => name !== "chaperone")
      .map((name) => {
        const cpu = mid(name, "cpuUs");
        const used = Number.isNaN(cpu) ? "" : `, ${count(cpu)} µs`;
        return `${share(name).toFixed(2)} of ${name} (${count(mid(name, "perSecond"))}/s${used})`;
      })
      .join(", "),
    floor: one.floor === undefined ? "" : `${one.floor} of PgBouncer`,
    goal: one.floor === undefined ? "" : `${goal} of PgBouncer`,
    verdict: !known
      ? "PgBouncer is not installed"
      : one.floor === undefined
        ? "no floor"
        : verdict(bouncer >= one.floor, bouncer >= goal),
    why: whyMissed,
  };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [seconds = "2", only = "", alone] = process.argv.slice(2);
  const found = await postgres({ seconds: Number(seconds), only, alone: alone === "alone" });
  process.stdout.write(markdown(found));
}
