// The proxy of a benchmark, in a process of its own as in a pod: whole, with grants and events going to a control plane elsewhere.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { pino } from "pino";
import { boundStreams, collectAsServing } from "../../proxy/engine.ts";
import { trimWhenGrown } from "../../proxy/freed-memory.ts";
import { releaseWhenIdle } from "../../proxy/start-memory.ts";
import { startProxy } from "../../proxy/start.ts";
import type { ControlReady } from "./control-child.ts";

export interface ProxyOrder {
  readonly control: ControlReady;
  readonly directory: string;
}

boundStreams();
process.once("message", ({ control, directory }: ProxyOrder) => {
  void serve(control, directory);
});

async function serve(control: ControlReady, directory: string): Promise<void> {
  const logger = pino({ level: "warn" }, pino.destination({ fd: 2, sync: true }));
  const proxy = await startProxy({
    subject: control.subject,
    addresses: control.addresses,
    operator: { url: control.url, socketPath: control.socketPath },
    readToken: (signal) => readFile(control.tokenFile, { encoding: "utf8", signal }),
    stream: control.stream,
    spoolDirectory: join(directory, "spool"),
    authorityDirectory: join(directory, "authority"),
    trustFile: join(directory, "ca.crt"),
    roots: rootCertificates,
    extraCAs: [],
    resolvConf: "/etc/resolv.conf",
    version: "bench",
    logger,
    local: { guardKey: "", keyed: () => false },
  });
  collectAsServing();
  const stayAsStarted = releaseWhenIdle(proxy.gates, logger);
  const stayAsGrown = trimWhenGrown(logger);
  // Asked for its metrics at any later message.
  process.on("message", () => {
    void proxy.metrics.text().then((text) => process.send?.(text));
  });
  const end = (): void => {
    stayAsStarted();
    stayAsGrown();
    void proxy.close().then(() => process.exit(0));
  };
  process.once("SIGTERM", end);
  process.once("disconnect", end);
  process.send?.("ready");
}
