// Which languages this machine can run; a client of one that is missing is left out by name, and nothing is left out where CI=true.
import { execFileSync } from "node:child_process";

function reasonWithout(program: string, args: readonly string[], what: string): string | undefined {
  try {
    execFileSync(program, args, { stdio: "ignore" });
    return undefined;
  } catch {
    return what;
  }
}

export const reasonWithoutGo = (): string | undefined =>
  reasonWithout("go", ["version"], "this needs go (1.25 or newer)");

export const reasonWithoutJava = (): string | undefined =>
  reasonWithout("javac", ["--version"], "pgjdbc needs a JDK (17 or newer)") ??
  reasonWithout("mvn", ["--version"], "pgjdbc needs mvn to fetch its jar");

/** Options of a test that is left out for this reason, if there is one. */
export function skipped(reason: string | undefined): { readonly skip: string | false } {
  if (reason !== undefined && process.env["CI"] === "true")
    throw new Error(`CI=true, but ${reason}`);
  return { skip: reason ?? false };
}

export const reasonWithoutJavac = (): string | undefined =>
  reasonWithout("javac", ["--version"], "Java's HttpClient needs a JDK (17 or newer)");
