// pgbench against a real PostgreSQL, straight and through the proxy (and through PgBouncer where it is installed); prints a table of ratios.
//
//   node test/bench/postgres.ts [seconds]
// The proxy runs in a process of its own, as in a pod; the client's and the server's legs are plain TCP so that only its own work is measured.
import { execFile, fork, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { allow, startHarness } from "../integration/postgres-proxy-harness.ts";
import { startPostgres } from "../integration/postgres-server.ts";
import type { PostgresServer } from "../integration/postgres-server.ts";

const run = promisify(execFile);
const clients = 8;

interface Target {
  readonly name: string;
  readonly port: number;
  readonly password: string;
}

if (process.send !== undefined) await serveProxy();
else await main();

/** The child: one room on one port, until its parent goes. */
async function serveProxy(): Promise<void> {
  const [server] = (await once(process, "message")) as [PostgresServer];
  const proxy = await startHarness(server, { database: "postgres" });
  proxy.setRules([
    allow({ statements: ["select"], relations: ["public.pgbench_*"] }, "read"),
    allow({ statements: ["set", "transaction"] }, "session"),
  ]);
  process.send?.(proxy.port);
  // Recorded events would grow without end in this in-memory recorder.
  setInterval(() => proxy.events.splice(0), 100).unref();
  await once(process, "disconnect");
  process.exit(0);
}

async function main(): Promise<void> {
  const seconds = Number(process.argv[2] ?? 5);
  const server = await startPostgres({ settings: { shared_buffers: "64MB" } });
  const direct: Target = { name: "direct", port: server.port, password: server.password };
  try {
    await pgbench(direct, ["-i", "-s", "5", "-q"]);
    const proxy = await startProxy(server);
    const bouncer = await startBouncer(server);
    const targets = [direct, ...(bouncer === undefined ? [] : [bouncer.target]), proxy.target];
    const rows: Record<string, Record<string, number | string>> = {};
    for (const mode of ["simple", "extended", "prepared"]) {
      const row: Record<string, number | string> = {};
      for (const target of targets) row[target.name] = await measure(target, mode, seconds);
      const base = row["pgbouncer"] ?? row["direct"];
      row["ratio"] = (Number(row["chaperone"]) / Number(base)).toFixed(2);
      rows[mode] = row;
    }
    console.table(rows);
    console.log(
      `ratio: chaperone to ${bouncer === undefined ? "direct (PgBouncer is not installed)" : "PgBouncer"}`,
    );
    proxy.child.disconnect();
    await bouncer?.stop();
  } finally {
    await server.stop();
  }
}

async function startProxy(
  server: PostgresServer,
): Promise<{ target: Target; child: ChildProcess }> {
  const child = fork(import.meta.filename, { stdio: "inherit" });
  child.send({
    host: server.host,
    port: server.port,
    superuser: server.superuser,
    password: server.password,
  });
  const [port] = (await once(child, "message")) as [number];
  return { target: { name: "chaperone", port, password: "any" }, child };
}

async function startBouncer(
  server: PostgresServer,
): Promise<{ target: Target; stop: () => Promise<void> } | undefined> {
  if (!(await installed("pgbouncer"))) return undefined;
  const directory = await mkdtemp(join(tmpdir(), "chaperone-bouncer-"));
  const port = await freePort();
  const config = join(directory, "pgbouncer.ini");
  await writeFile(join(directory, "users.txt"), `"postgres" "${server.password}"\n`);
  await writeFile(
    config,
    [
      "[databases]",
      `postgres = host=${server.host} port=${server.port} dbname=postgres`,
      "[pgbouncer]",
      `listen_port = ${port}`,
      "listen_addr = 127.0.0.1",
      "unix_socket_dir =",
      "auth_type = scram-sha-256",
      `auth_file = ${join(directory, "users.txt")}`,
      "pool_mode = session",
      "max_client_conn = 200",
      "default_pool_size = 50",
      "",
    ].join("\n"),
  );
  await run("chmod", ["-R", "a+rX", directory]);
  const child = spawn(
    "pgbouncer",
    [...(process.getuid?.() === 0 ? ["-u", "nobody"] : []), config],
    { stdio: "ignore" },
  );
  const target = { name: "pgbouncer", port, password: server.password };
  for (let attempt = 0; ; attempt++) {
    try {
      await pgbench(target, ["-S", "-t", "1"]);
      break;
    } catch (error) {
      if (attempt === 50) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  return {
    target,
    stop: async () => {
      const closed = once(child, "close");
      child.kill("SIGTERM");
      await closed;
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function measure(target: Target, mode: string, seconds: number): Promise<number> {
  const output = await pgbench(target, [
    "-S",
    "-M",
    mode,
    "-c",
    String(clients),
    "-T",
    String(seconds),
    "-n",
  ]);
  return Math.round(Number(/tps = ([\d.]+)/.exec(output)?.[1]));
}

async function pgbench(target: Target, args: readonly string[]): Promise<string> {
  const { stdout } = await run(
    "pgbench",
    ["-h", "127.0.0.1", "-p", String(target.port), "-U", "postgres", ...args, "postgres"],
    {
      env: { ...process.env, PGPASSWORD: target.password, PGSSLMODE: "disable" },
    },
  );
  return stdout;
}

async function installed(program: string): Promise<boolean> {
  try {
    await run("which", [program]);
    return true;
  } catch {
    return false;
  }
}

async function freePort(): Promise<number> {
  const probe = createServer();
  probe.listen(0, "127.0.0.1");
  await once(probe, "listening");
  const address = probe.address();
  probe.close();
  return address !== null && typeof address === "object" ? address.port : 0;
}
