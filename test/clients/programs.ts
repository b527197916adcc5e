// psql, pg_dump, pgbench and the others of PostgreSQL 18, unmodified, from the Python index: the same on every machine, whatever it has installed.
import { execFile } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { pythonPackages } from "./python.ts";
import { libpqEnvironment, type Way } from "./room.ts";

/** The programs of `embedded-postgres` are built without TLS; psycopg's libpq of the same major has it and is loaded before theirs. */
const requirements = ["embedded-postgres==18.6.3", "psycopg[binary]==3.3.9"];

const timeoutMs = 120_000;
const maxOutputBytes = 64 * 1024 * 1024;

export interface Programs {
  readonly folder: string;
  readonly environment: Readonly<Record<string, string>>;
}

export interface Ran {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export async function installPrograms(): Promise<Programs> {
  const packages = await pythonPackages(requirements);
  const libraries = join(packages, "psycopg_binary.libs");
  const libpq = (await readdir(libraries)).find((name) => name.startsWith("libpq"));
  if (libpq === undefined) throw new Error(`no libpq in ${libraries}`);
  return {
    folder: join(packages, "embedded_postgres", "pginstall", "bin"),
    environment: { LD_PRELOAD: join(libraries, libpq), PSQL_HISTORY: "/dev/null" },
  };
}

/** What a program runs with: the machine's locale and path, nothing of its PostgreSQL settings. */
export function programEnvironment(programs: Programs, way: Way): Record<string, string> {
  return {
    PATH: process.env["PATH"] ?? "",
    HOME: "/nonexistent",
    LC_ALL: "C",
    ...programs.environment,
    ...libpqEnvironment(way),
  };
}

/** Runs a program against one way to the database; a failure is a result like any other. */
export async function runProgram(
  programs: Programs,
  way: Way,
  program: string,
  args: readonly string[],
  options: { readonly input?: string; readonly cwd?: string } = {},
): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      join(programs.folder, program),
      args,
      {
        env: programEnvironment(programs, way),
        timeout: timeoutMs,
        maxBuffer: maxOutputBytes,
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      },
      (error, stdout, stderr) => {
        const status = error === null ? 0 : error.code;
        if (typeof status === "number") resolve({ status, stdout, stderr });
        else reject(error ?? new Error(`${program} did not end`));
      },
    );
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(options.input ?? "");
  });
}
