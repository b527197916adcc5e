// A real MCP server made with the official SDK, and the whole system before it as `chaperone dev` runs it, from manifests.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startLocal } from "../../../cli/dev/local.ts";
import type { Local } from "../../../cli/dev/local.ts";

export interface Started {
  readonly port: number;
  close(): Promise<void>;
}

/** A program that prints its port. */
export async function startServer(
  command: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<Started> {
  const [program = "", ...args] = command;
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
  const port = await firstLine(child);
  return {
    port: Number(port),
    close: async () => {
      child.kill();
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    },
  };
}

async function firstLine(child: ChildProcess): Promise<string> {
  let text = "";
  for await (const chunk of child.stdout ?? []) {
    text += String(chunk);
    if (text.includes("\n")) break;
  }
  if (text === "") throw new Error("the server ended before it said its port");
  return text.split("\n")[0] ?? "";
}

export interface McpLocal {
  /** Where the agent's clients go. */
  url(name: string): string;
  readonly state: string;
  close(): Promise<void>;
}

/** @param paths of the server, each a Connection of its own by that name */
export async function startMcpLocal(
  port: number,
  paths: readonly string[],
  rules: string,
  more = "",
): Promise<McpLocal> {
  const directory = await mkdtemp(join(tmpdir(), "chaperone-mcp-"));
  const connections = paths.map(
    (name) => `apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: ${name}, namespace: agents}
spec:
  protocol: mcp
  endpoint: {url: "http://127.0.0.1:${port}/${name}"}
  inject: {env: {MCP_URL: "\${url}"}}
`,
  );
  const policy = `apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: tools, namespace: agents}
spec:
  targetRefs: [${paths.map((name) => `{name: ${name}}`).join(", ")}]
  subjects: [{serviceAccounts: [agent]}]
  recording: {detail: Full}
${more}  rules:
${rules}`;
  await writeFile(join(directory, "all.yaml"), [...connections, policy].join("---\n"));
  const state = join(directory, "state");
  const local: Local = await startLocal({
    files: [join(directory, "all.yaml")],
    namespace: "agents",
    serviceAccount: "agent",
    chain: undefined,
    portBase: undefined,
    state,
    logLevel: "warn",
    say: (line) => void process.stderr.write(`${line}\n`),
  });
  return {
    state,
    url: (name) => local.connections.find((one) => one.name === name)?.url ?? "",
    close: async () => {
      await local.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
