// Which languages this machine can run; a client of one that is missing is left out by name, and nothing is left out where CI=true.
import { execFileSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** A JVM takes a fifth of a second to tell it: each is asked once. */
const versions = new Map<string, string>();

/** What a program says of its version. @throws where it cannot be run */
export function versionOf(program: string, ...args: readonly string[]): string {
  const known = versions.get(program);
  if (known !== undefined) return known;
  const told = execFileSync(program, args, { stdio: ["ignore", "pipe", "ignore"] }).toString();
  versions.set(program, told);
  return told;
}

export const goVersion = (): string => versionOf("go", "version");
export const javaVersion = (): string => versionOf("javac", "--version");

function reasonWithout(run: () => unknown, what: string): string | undefined {
  try {
    run();
    return undefined;
  } catch {
    return what;
  }
}

/** @throws where no program of this name is on the path */
function lookUp(program: string): void {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  const isThere = folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!isThere) throw new Error(`no ${program} on the path`);
}

export const reasonWithoutGo = (): string | undefined =>
  reasonWithout(goVersion, "this needs go (1.25 or newer)");

export const reasonWithoutJava = (): string | undefined =>
  reasonWithout(javaVersion, "pgjdbc needs a JDK (17 or newer)") ??
  reasonWithout(() => lookUp("mvn"), "pgjdbc needs mvn to fetch its jar");

/** Options of a test that is left out for this reason, if there is one. */
export function skipped(reason: string | undefined): { readonly skip: string | false } {
  if (reason !== undefined && process.env["CI"] === "true")
    throw new Error(`CI=true, but ${reason}`);
  return { skip: reason ?? false };
}

export const reasonWithoutJavac = (): string | undefined =>
  reasonWithout(javaVersion, "Java's HttpClient needs a JDK (17 or newer)");
