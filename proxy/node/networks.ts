// Loads the rules into the network of a pod that starts on this node, and looks whether they are still there.
import { stat, statfs } from "node:fs/promises";

import { checkRules, loadRules } from "../redirect/load-rules.ts";
import type { Place } from "./config.ts";
import { failureOf, ownPathOf, readRequest } from "./request.ts";

/** linux/magic.h: the file system of namespaces. */
const NSFS_MAGIC = 0x6e_73_66_73;

export type Log = (line: Readonly<Record<string, unknown>>) => void;

/** What the plugin is told: `ok`, or an error of CNI. */
export async function answerTo(text: string, namespaces: Place, log: Log): Promise<string> {
  const started = performance.now();
  try {
    const { command, namespaceFile, pod, rules } = readRequest(text);
    const file = ownPathOf(namespaceFile, namespaces);
    await mustBeAPods(file, namespaces);
    await (command === "ADD" ? loadRules : checkRules)(rules, { namespaceFile: file });
    const durationMs = Math.round(performance.now() - started);
    log({ event: command === "ADD" ? "rules-loaded" : "rules-checked", pod, ...rules, durationMs });
    return "ok";
  } catch (error) {
    const answer = failureOf(text, error instanceof Error ? error.message : String(error));
    log({ event: "rules-not-loaded", answer });
    return answer;
  }
}

/** Or the rules would come into the node's own network, in which the agent is. */
async function mustBeAPods(file: string, { node }: Place): Promise<void> {
  const found = await stat(file).catch(() => undefined);
  if (found === undefined || (await statfs(file)).type !== NSFS_MAGIC)
    throw new Error(
      `its network namespace is not to be seen by the agent: the node's ${node} has to be a shared mount (mount --make-rshared on the file system it is on)`,
    );
  if (found.ino === (await stat("/proc/self/ns/net")).ino)
    throw new Error("its network namespace is the node's own");
}
