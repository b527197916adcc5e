// The programs that the benchmarks compare with: Debian's packages, installed when they are missing and we may.
import { installed, run } from "./processes.ts";

const packages = [
  { program: "nginx", name: "nginx" },
  { program: "pgbouncer", name: "pgbouncer" },
  { program: "pgbench", name: "postgresql" },
] as const;
const installTimeoutMs = 300_000;

/** What is still missing afterwards is left out of the table by name. */
export async function provideRivals(say: (line: string) => void): Promise<void> {
  for (const { program, name } of packages) {
    const reason = await provide(program, name, say);
    if (reason !== undefined) say(`${reason}; its column is left out`);
  }
}

/** Why a program of this package is not here; undefined when it is, or could be installed. */
export async function provide(
  program: string,
  name: string,
  say: (line: string) => void,
): Promise<string | undefined> {
  if (await installed(program)) return undefined;
  if (process.getuid?.() !== 0 || !(await installed("apt-get")))
    return `${program} is not installed (Debian: ${name})`;
  say(`installing ${name}`);
  return run("apt-get", ["install", "--yes", "--no-install-recommends", name], {
    timeout: installTimeoutMs,
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  }).then(
    () => undefined,
    () => `${name} could not be installed`,
  );
}

/** `Node 24.1.0, nginx 1.22.1, ...`, as each says of itself. */
export async function versions(): Promise<string> {
  const found = [`Node ${process.versions.node}`];
  for (const [program, ...args] of [
    ["nginx", "-v"],
    ["pgbouncer", "--version"],
    ["pgbench", "--version"],
  ] as const) {
    if (!(await installed(program))) continue;
    const { stdout, stderr } = await run(program, args);
    const version = /\d+(?:\.\d+)+/.exec(stdout + stderr)?.[0];
    found.push(`${program} ${version ?? "of unknown version"}`);
  }
  return found.join(", ");
}
