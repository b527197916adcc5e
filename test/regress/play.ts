// Sends one file through psql, to the server itself or through the proxy, in a database of its own.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { openSync, closeSync } from "node:fs";
import { join } from "node:path";

export interface Target {
  readonly host: string;
  readonly port: number;
  readonly password: string;
  readonly database: string;
  /** The settings that the proxy pins; the direct run needs the same. */
  readonly options?: string;
}

/** The longest file takes a few seconds. */
const fileDeadlineMs = 60_000;

/** Everything psql prints, its errors and the server's notices in their places. */
export async function play(directory: string, file: string, target: Target): Promise<string> {
  const input = openSync(join(directory, "sql", `${file}.sql`), "r");
  // One pipe for both streams, so that errors stand in their places.
  const child = spawn("sh", ["-c", "exec psql -X -a -q -v HIDE_TABLEAM=on 2>&1"], {
    cwd: directory,
    stdio: [input, "pipe", "ignore"],
    env: {
      PATH: process.env["PATH"] ?? "",
      PGHOST: target.host,
      PGPORT: String(target.port),
      PGUSER: "postgres",
      PGPASSWORD: target.password,
      PGDATABASE: target.database,
      PGTZ: "America/Los_Angeles",
      PGDATESTYLE: "Postgres, MDY",
      PGSSLMODE: "disable",
      PGAPPNAME: "regress",
      PG_ABS_SRCDIR: directory,
      PG_LIBDIR: "/nonexistent",
      PG_DLSUFFIX: ".so",
      ...(target.options === undefined ? {} : { PGOPTIONS: target.options }),
    },
  });
  closeSync(input);
  const parts: Buffer[] = [];
  child.stdout?.on("data", (part: Buffer) => parts.push(part));
  const timer = setTimeout(() => child.kill("SIGKILL"), fileDeadlineMs);
  await once(child, "close");
  clearTimeout(timer);
  return Buffer.concat(parts).toString("latin1");
}
