// The operator's process: starts it from its environment, ends it well on SIGTERM, and never limps on after what nobody expected.
import { pino } from "pino";
import { version } from "../contract/version.ts";
import { readConfig } from "./config.ts";
import { startOperator, type Operator } from "./start.ts";

/** The kubelet kills after 30 s; whatever is not done by then is said in the log instead. */
const closeTimeoutMs = 20_000;

const logger = pino({
  name: "chaperone-operator",
  level: process.env.CHAPERONE_LOG_LEVEL ?? "info",
});

function fatal(event: string, error: unknown): never {
  logger.fatal({
    event,
    error: error instanceof Error ? error.message : String(error),
    ...(error instanceof Error ? { stack: error.stack } : {}),
  });
  process.exit(1);
}

process.once("uncaughtException", (error) => fatal("uncaught-exception", error));
process.once("unhandledRejection", (error) => fatal("unhandled-rejection", error));

function endOn(operator: Operator): void {
  let isEnding = false;
  const end = (signal: string): void => {
    if (isEnding) return;
    isEnding = true;
    logger.info({ event: "ending", signal });
    setTimeout(
      () => fatal("ending-timed-out", new Error(`not closed within ${closeTimeoutMs} ms`)),
      closeTimeoutMs,
    ).unref();
    operator.close().then(
      () => process.exit(0),
      (error: unknown) => fatal("ending-failed", error),
    );
  };
  process.on("SIGTERM", () => end("SIGTERM"));
  process.on("SIGINT", () => end("SIGINT"));
}

try {
  endOn(await startOperator(readConfig(process.env), version, logger));
} catch (error) {
  // One clear line: what is wrong is almost always said in it.
  logger.fatal({
    event: "start-failed",
    error: error instanceof Error ? error.message : String(error),
  });
  process.exit(1);
}
