// A node's agent (DaemonSet chaperone-node): keeps the plugin in the node's list of CNI plugins, and loads the rules of the pods that it is asked for.
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { chainIn, unchainIn } from "./conf-directory.ts";
import { readNodeConfig } from "./config.ts";
import { isGone, readDaemonSet } from "./daemon-set.ts";
import { watchFolder } from "./folder.ts";
import { Mailbox } from "./mailbox.ts";
import { answerTo, type Log } from "./networks.ts";
import { installPlugin, type Seen } from "./plugin-files.ts";

/** Also what the kernel does not tell: a plugin's file that a node's upgrade took away. */
const keepMs = 5_000;

const log: Log = (line) => void process.stdout.write(`${JSON.stringify(line)}\n`);
const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const config = readNodeConfig(process.env);
/** Touched as long as all is in its place; the probes look how old it is. */
const ready = join(config.mailbox.agent, "ready");
await rm(ready, { force: true });

const mailbox = new Mailbox(
  config.mailbox.agent,
  (request) => answerTo(request, config.namespaces, log),
  (error) => log({ event: "mailbox-failed", error: textOf(error) }),
);
await mailbox.open();

const seen: Seen = { program: undefined };
let said = "";

/** The plugin's files come first: a list never names what is not there. */
async function keep(): Promise<void> {
  try {
    const places = {
      directory: config.plugins.agent,
      nodeDirectory: config.plugins.node,
      nodeMailbox: config.mailbox.node,
      busybox: config.busybox,
    };
    if (await installPlugin(places, seen)) log({ event: "plugin-installed" });
    const { file, isNew } = await chainIn({
      directory: config.confDirectory,
      file: config.confFile,
    });
    if (isNew || said !== file) log({ event: "chained", file, isNew });
    said = file;
    await writeFile(ready, `${file}\n`);
  } catch (error) {
    const why = textOf(error);
    if (said !== why) log({ event: "not-chained", error: why });
    said = why;
    await rm(ready, { force: true });
  }
}

let kept = keep();
let isWaiting = false;
/** However often a folder changes meanwhile, one round more sees it all. */
const keepOn = (): void => {
  if (isWaiting) return;
  isWaiting = true;
  kept = kept.then(() => {
    isWaiting = false;
    return keep();
  });
};
const watched = watchFolder(config.confDirectory, keepMs, keepOn, (error) =>
  log({ event: "watch-failed", error: textOf(error) }),
);

async function end(): Promise<void> {
  watched.close();
  await kept;
  await rm(ready, { force: true });
  try {
    const answer = await readDaemonSet({
      ...config.daemonSet,
      ...config.api,
      accountDirectory: config.accountDirectory,
    });
    if (isGone(answer)) log({ event: "unchained", files: await unchainIn(config.confDirectory) });
    else log({ event: "stays-chained", why: "only this pod ends, not the DaemonSet" });
  } catch (error) {
    log({ event: "stays-chained", why: textOf(error) });
  }
  await mailbox.close();
}

let ending: Promise<void> | undefined;
for (const signal of ["SIGTERM", "SIGINT"] as const)
  process.on(signal, () => {
    ending ??= end().catch((error: unknown) => {
      log({ event: "end-failed", error: textOf(error) });
      process.exitCode = 1;
    });
  });
