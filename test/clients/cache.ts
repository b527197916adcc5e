// What tests of clients install and build, each once into the user's cache.
import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { cached } from "../integration/user-cache.ts";
import { goVersion, javaVersion } from "./toolchains.ts";

const run = promisify(execFile);
/** A few packages from a slow index. */
export const installTimeoutMs = 5 * 60_000;

/** The folder whose `node_modules` holds these packages; their install scripts are not run. */
export function npmPackages(packages: readonly string[]): Promise<string> {
  return cached("npm", [process.platform, process.arch, ...packages], (folder) =>
    run(
      "npm",
      [
        "install",
        "--prefix",
        folder,
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
        ...packages,
      ],
      { timeout: installTimeoutMs },
    ),
  );
}

/** The jar of `group:artifact:version`, without what it depends on. */
export async function mavenJar(coordinates: string): Promise<string> {
  const folder = await cached("maven", [coordinates], (fresh) =>
    run(
      "mvn",
      ["-q", "-B", "dependency:copy", `-Dartifact=${coordinates}`, `-DoutputDirectory=${fresh}`],
      { timeout: installTimeoutMs, cwd: fresh },
    ),
  );
  const [, artifact, version] = coordinates.split(":");
  return join(folder, `${artifact}-${version}.jar`);
}

/** Builds the Go program of a folder beside this file, or in another folder; anew when a file of it changes. */
export async function goProgram(
  name: string,
  beside: string = import.meta.dirname,
): Promise<string> {
  const source = join(beside, name);
  const files = (await readdir(source)).toSorted();
  const texts = await Promise.all(files.map((file) => readFile(join(source, file), "utf8")));
  const folder = await cached("go", [goVersion(), ...texts], (fresh) =>
    run("go", ["build", "-o", join(fresh, name), "."], { cwd: source, timeout: installTimeoutMs }),
  );
  return join(folder, name);
}

/** The program of a published Go module, built from `module@version`. */
export async function goInstalled(program: string, module: string): Promise<string> {
  const folder = await cached("go", [goVersion(), module], (fresh) =>
    run("go", ["install", module], {
      env: { ...process.env, GOBIN: fresh, GOFLAGS: "-mod=mod" },
      timeout: installTimeoutMs,
    }),
  );
  return join(folder, program);
}

/** The classes of a source file beside this one; compiled anew when it or the jar changes. */
export async function javaClasses(name: string, jar: string): Promise<string> {
  const source = join(import.meta.dirname, name);
  return cached("java", [javaVersion(), jar, await readFile(source, "utf8")], (fresh) =>
    run("javac", ["-nowarn", "-cp", jar, "-d", fresh, source], { timeout: installTimeoutMs }),
  );
}
