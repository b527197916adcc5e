// The agent under `chaperone run`, and the lines it says.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { program, type Ended } from "./cli.ts";

export interface AgentOptions {
  readonly manifests: string;
  readonly state: string;
  readonly tasks: readonly string[];
  /** Must not stand in the environment the demo itself hands on. */
  readonly forbidden: readonly string[];
}

export interface AgentProcess {
  /** The next line of this kind; rejects when the agent ends without one. */
  next(what: string): Promise<string>;
  readonly exited: Promise<Ended>;
}

/** Longer than any step of the story takes. */
const stepTimeoutMs = 45_000;

export function startAgent({ manifests, state, tasks, forbidden }: AgentOptions): AgentProcess {
  const environment = Object.entries(process.env);
  if (environment.some(([, value]) => forbidden.some((secret) => value?.includes(secret))))
    throw new Error("the demo's own environment holds a secret");
  const child = spawn(
    process.execPath,
    [
      program,
      "run",
      "-f",
      manifests,
      "--service-account",
      "invoice-agent",
      "--state",
      state,
      "--",
      process.execPath,
      join(import.meta.dirname, "agent.ts"),
      ...tasks,
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  let stdout = "";
  let stderr = "";
  const said: { what: string; text: string }[] = [];
  let wake: () => void = () => undefined;
  let over = false;
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  createInterface(child.stdout).on("line", (line) => {
    stdout += `${line}\n`;
    try {
      said.push(JSON.parse(line) as { what: string; text: string });
    } catch {
      said.push({ what: "noise", text: line });
    }
    wake();
  });
  const exited = once(child, "close").then(([code]): Ended => {
    over = true;
    wake();
    return { code: typeof code === "number" ? code : -1, stdout, stderr };
  });
  return {
    exited,
    async next(what) {
      const deadline = Date.now() + stepTimeoutMs;
      for (;;) {
        let line = said.shift();
        while (line !== undefined && line.what !== what) line = said.shift();
        if (line !== undefined) return line.text;
        if (over || Date.now() > deadline) {
          child.kill("SIGTERM");
          throw new Error(`the agent did not say "${what}"\n${stdout}\n${stderr}`);
        }
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, 500);
          wake = () => (clearTimeout(timer), resolve());
        });
      }
    },
  };
}
