// Chaperone as the benchmarks measure it: a control plane on the load's core that gives way to the load, one proxy on its own, and what they say of themselves.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { proxyNodeFlags } from "../../contract/node-flags.ts";
import { bundledProxy } from "./bundle.ts";
import type { ControlReady } from "./control-child.ts";
import {
  containerEnv,
  end,
  firstMessage,
  givingWay,
  nodeFile,
  onProxyCore,
  pause,
} from "./processes.ts";
import type { ProxyOrder } from "./proxy-child.ts";
import { defaultSpoolLimits } from "../../proxy/audit/spool.ts";

/** From here on the proxy lets operations wait for the store (proxy/audit/spool.ts). */
const fullSpoolBytes = (defaultSpoolLimits.totalBytes * 7) / 8;

export interface Chaperone {
  readonly pid: number;
  readonly controlPid: number;
  /** Where the agent meets a connection. */
  port(connection: string): number;
  /** Operations allowed so far, as the proxy counts them. */
  allowed(): Promise<number>;
  unshipped(): Promise<number>;
  /** Waits until the store has every event. False when it does not within the time. */
  shipped(withinMs: number): Promise<boolean>;
  readonly caFile: string;
  /** What HTTPS_PROXY would point at. */
  readonly forwardProxyPort: number;
  stop(): Promise<void>;
}

export async function startChaperone(manifests: string): Promise<Chaperone> {
  const directory = await mkdtemp(join(tmpdir(), "chaperone-bench-"));
  await mkdir(join(directory, "manifests"));
  await mkdir(join(directory, "proxy"));
  await writeFile(join(directory, "manifests", "all.yaml"), manifests, { mode: 0o600 });
  const control = await givingWay(
    nodeFile("control-child.ts", [join(directory, "manifests"), join(directory, "state")]),
  );
  const ready = await firstMessage<ControlReady>(control, "the control plane");
  const proxy = onProxyCore(nodeFile(await bundledProxy(), [], proxyNodeFlags), "ipc", {
    ...process.env,
    ...containerEnv,
  });
  const order: ProxyOrder = { control: ready, directory: join(directory, "proxy") };
  proxy.send(order);
  await firstMessage(proxy, "the proxy");

  const metric = async (pattern: RegExp): Promise<number> => {
    proxy.send("metrics");
    const text = await firstMessage<string>(proxy, "the proxy");
    return [...text.matchAll(pattern)].reduce((sum, [, value]) => sum + Number(value), 0);
  };
  const unshipped = () => metric(/^chaperone_events_unshipped (\d+)$/gm);
  return {
    pid: proxy.pid ?? 0,
    controlPid: control.pid ?? 0,
    caFile: join(directory, "proxy", "ca.crt"),
    forwardProxyPort: ready.addresses.forwardProxy?.port ?? 0,
    port: (connection) => {
      const found = ready.addresses.connections.find((entry) => entry.connection === connection);
      if (found === undefined) throw new Error(`no connection ${connection}`);
      return found.endpoint.port;
    },
    allowed: () => metric(/^chaperone_operations_total\{.*verdict="allow".*\} (\d+)$/gm),
    unshipped,
    async shipped(withinMs) {
      if ((await metric(/^chaperone_spool_bytes (\d+)$/gm)) >= fullSpoolBytes)
        process.stderr.write(
          "the spool is full: the last turn was so fast that operations began to wait for the store\n",
        );
      for (const deadline = Date.now() + withinMs; ;) {
        if ((await unshipped()) === 0) return true;
        if (Date.now() > deadline) return false;
        await pause(50);
      }
    },
    async stop() {
      await end(proxy);
      await end(control);
      await rm(directory, { recursive: true, force: true });
    },
  };
}
