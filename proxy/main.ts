// The injected container: reads what its pod tells it, starts the proxy and the admin port, ends well on SIGTERM.
import { readFile } from "node:fs/promises";
import { rootCertificates, setDefaultCACertificates } from "node:tls";
import { pino } from "pino";
import { version } from "../contract/version.ts";
import { startAdmin } from "./admin.ts";
import { readConfig } from "./config.ts";
import { boundStreams, collectAsServing } from "./engine.ts";
import { trimWhenGrown } from "./freed-memory.ts";
import { startProxy } from "./start.ts";
import { releaseWhenIdle } from "./start-memory.ts";
import { keepOutOfCoreDumps, openings } from "./surface.ts";

const logger = pino({ name: "chaperone-proxy", level: process.env.CHAPERONE_LOG_LEVEL ?? "info" });

boundStreams();
try {
  const open = openings(process.env, process.execArgv);
  if (open.length > 0) throw new Error(open.join("; "));
  if (!keepOutOfCoreDumps()) logger.warn({ event: "core-dumps-not-closed" });
  const config = readConfig(process.env);
  const extraCAs = config.extraCa === "" ? [] : [config.extraCa];
  // What proves an upstream whose Connection names no CA of its own.
  if (extraCAs.length > 0) setDefaultCACertificates([...rootCertificates, ...extraCAs]);
  const proxy = await startProxy({
    subject: config.subject,
    addresses: config.addresses,
    operator: { url: config.operator.url, ca: config.operator.ca },
    // Read at every exchange: the kubelet rotates the file, and a cached token is a stale one.
    readToken: (signal) => readFile(config.tokenFile, { encoding: "utf8", signal }),
    stream: `${config.subject.namespace}/${config.subject.pod}/${config.subject.podUid}`,
    spoolDirectory: config.spoolDirectory,
    authorityDirectory: config.authorityDirectory,
    trustFile: config.trustFile,
    roots: rootCertificates,
    extraCAs,
    resolvConf: config.resolvConf,
    version,
    logger,
  });
  const admin = await startAdmin({
    host: "::",
    port: config.adminPort,
    metrics: proxy.metrics,
    isReady: proxy.isReady,
    hasFailed: proxy.hasFailed,
  });
  logger.info({
    event: "ready",
    connections: config.addresses.connections.length,
    interception: config.addresses.interception,
  });
  collectAsServing();
  const stayAsStarted = releaseWhenIdle(proxy.gates, logger);
  const stayAsGrown = trimWhenGrown(logger);
  let ending = false;
  const end = (signal: string): void => {
    if (ending) return;
    ending = true;
    logger.info({ event: "ending", signal });
    stayAsStarted();
    stayAsGrown();
    proxy
      .close()
      .then(() => admin.close())
      .then(
        () => process.exit(0),
        (error: unknown) => {
          logger.error({
            event: "ending-failed",
            error: error instanceof Error ? error.message : String(error),
          });
          process.exit(1);
        },
      );
  };
  process.once("SIGTERM", () => end("SIGTERM"));
  process.once("SIGINT", () => end("SIGINT"));
} catch (error) {
  logger.fatal({
    event: "start-failed",
    error: error instanceof Error ? error.message : String(error),
  });
  process.exitCode = 1;
}
