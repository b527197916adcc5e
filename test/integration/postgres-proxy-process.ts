// Starts the room as a child process and measures the most memory it ever had.
import { fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";

import { proxyNodeFlags } from "../../contract/node-flags.ts";

export interface ProxyProcess {
  readonly port: number;
  /** PEM of what its certificate is of, where it speaks TLS. */
  readonly ca: string | undefined;
  /** Most resident memory so far, in MiB (VmHWM of proc(5)). */
  peakMiB(): number;
  /** How often each cause stands in the events so far. */
  causes(): Promise<Record<string, number>>;
  alive(): boolean;
  stop(): Promise<void>;
}

export const canMeasure: boolean = process.platform === "linux";

/** @param startupDeadlineMs what production has when absent: a busy machine needs it for whoever is to be served beside an attack */
export function startProxyProcess(
  upstream: { readonly port: number; readonly password?: string },
  startupDeadlineMs?: number,
): Promise<ProxyProcess> {
  return startChild("./postgres-proxy-child.ts", [
    String(upstream.port),
    upstream.password ?? "",
    ...(startupDeadlineMs === undefined ? [] : [String(startupDeadlineMs)]),
  ]);
}

/** @param program beside this file; it sends `{ port }` once it listens, and its causes when it is asked for `causes` */
export async function startChild(program: string, args: readonly string[]): Promise<ProxyProcess> {
  const child = fork(new URL(program, import.meta.url), [...args], {
    execArgv: [...proxyNodeFlags],
  });
  const [first] = (await once(child, "message", { signal: AbortSignal.timeout(30_000) })) as [
    { readonly port: number; readonly ca?: string },
  ];
  return {
    port: first.port,
    ca: first.ca,
    peakMiB: () => {
      const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
      return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? Number.NaN) / 1024;
    },
    causes: async () => {
      child.send("causes");
      const [causes] = (await once(child, "message", { signal: AbortSignal.timeout(10_000) })) as [
        Record<string, number>,
      ];
      return causes;
    },
    alive: () => child.exitCode === null && child.signalCode === null,
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const closed = once(child, "exit");
      child.kill();
      await closed;
    },
  };
}
