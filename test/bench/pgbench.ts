// One run of pgbench: what it is told, and what it says.
import { run } from "./processes.ts";

export interface Bench {
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly tls: boolean;
}

export type Mode = "simple" | "extended" | "prepared";

const usualClients = 8;

/** `-S` reads one account by its key; a script may do something else. Transactions a second, connecting left out, and how many. */
export async function pgbench(
  bench: Bench,
  mode: Mode,
  seconds: number,
  script?: string,
  clients = usualClients,
): Promise<{ readonly perSecond: number; readonly transactions: number }> {
  const what = script === undefined ? ["-S"] : ["-f", script];
  const told = [...what, "-M", mode, "-c", String(clients), "-T", String(seconds), "-n"];
  const said = await invoke(bench, told);
  const perSecond = Number(/^tps = ([\d.]+)/m.exec(said)?.[1]);
  const transactions = Number(/actually processed: (\d+)/.exec(said)?.[1]);
  const failed = Number(/number of failed transactions: (\d+)/.exec(said)?.[1] ?? 0);
  if (!(perSecond > 0) || failed > 0)
    throw new Error(`pgbench did not do what was asked:\n${said}`);
  return { perSecond, transactions };
}

export async function fill(bench: Bench, scale: number): Promise<void> {
  await invoke(bench, ["-i", "-s", String(scale), "-q"]);
}

async function invoke(bench: Bench, args: readonly string[]): Promise<string> {
  const { stdout } = await run(
    "pgbench",
    ["-h", "127.0.0.1", "-p", String(bench.port), "-U", bench.user, ...args, bench.database],
    {
      env: {
        ...process.env,
        PGPASSWORD: bench.password,
        PGSSLMODE: bench.tls ? "require" : "disable",
        PGGSSENCMODE: "disable",
      },
    },
  );
  return stdout;
}
