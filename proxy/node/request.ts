// What a node's plugin asks of the agent, and the answers as the CNI specification has them. Pure.
import { basename, dirname, join } from "node:path";

import { rulesAnnotation } from "../../contract/redirect.ts";
import { readRulesAsked } from "../redirect/init-config.ts";
import type { RulesOptions } from "../redirect/rules.ts";
import { annotationsCapability } from "./conflist.ts";

export interface Request {
  /** `ADD` loads the rules, `CHECK` looks whether they are still there. */
  readonly command: "ADD" | "CHECK";
  /** Of the pod's network namespace, as the node names it. */
  readonly namespaceFile: string;
  /** `namespace/name`. */
  readonly pod: string;
  readonly rules: RulesOptions;
}

/** CNI specification 1.1, section 5: 100 and above are the plugin's own. */
const ownErrorCode = 100;

/** The lines of plugin.sh: command, network namespace, CNI_ARGS, then the configuration. @throws Error saying what is wrong */
export function readRequest(text: string): Request {
  const [command = "", namespaceFile = "", args = "", ...config] = text.split("\n");
  if (command !== "ADD" && command !== "CHECK")
    throw new Error("only ADD and CHECK are asked of the agent");
  const given = jsonOf(config.join("\n"));
  if (given === undefined)
    throw new Error("the plugin's configuration is not JSON, or longer than 2 MiB");
  const annotation = fieldAt(given, "runtimeConfig", annotationsCapability, rulesAnnotation);
  if (typeof annotation !== "string")
    throw new Error(`the pod has no annotation ${rulesAnnotation}`);
  return { command, namespaceFile, pod: podOf(args), rules: readRulesAsked(annotation) };
}

/** One line, which the plugin hands on to the runtime. */
export function failureOf(text: string, why: string): string {
  const [, , args = "", ...config] = text.split("\n");
  const version = fieldAt(jsonOf(config.join("\n")), "cniVersion");
  return JSON.stringify({
    cniVersion: typeof version === "string" ? version : "1.1.0",
    code: ownErrorCode,
    msg: `chaperone: the rules of pod ${podOf(args)} are not loaded, so it does not start: ${why}`,
  });
}

/**
 * Where the agent finds a network namespace of the node.
 * @param folders the node's folder of network namespaces, as the node names it and as the agent sees it
 * @throws Error when the namespace is in another
 */
export function ownPathOf(
  namespaceFile: string,
  folders: { readonly node: string; readonly agent: string },
): string {
  const name = basename(namespaceFile);
  if (
    withoutVar(dirname(namespaceFile)) !== withoutVar(folders.node) ||
    !/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name)
  )
    throw new Error(
      `its network namespace is not in ${folders.node}: set the chart's node.netnsDirectory to the runtime's folder`,
    );
  return join(folders.agent, name);
}

/** Everywhere a link to /run, by which the same folder has two names. */
function withoutVar(path: string): string {
  return path.replace(/\/+$/, "").replace(/^\/var\/run(?=\/|$)/, "/run");
}

function podOf(args: string): string {
  const values = new Map(
    args.split(";").map((pair): [string, string] => {
      const at = pair.indexOf("=");
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
  const name = (key: string): string => {
    const value = values.get(key) ?? "";
    return /^[a-z0-9.-]{1,253}$/.test(value) ? value : "unknown";
  };
  return `${name("K8S_POD_NAMESPACE")}/${name("K8S_POD_NAME")}`;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function fieldAt(value: unknown, ...path: readonly string[]): unknown {
  let found = value;
  for (const key of path)
    found =
      typeof found === "object" && found !== null && Object.hasOwn(found, key)
        ? Reflect.get(found, key)
        : undefined;
  return found;
}
