// Our plugin in a node's list of CNI plugins (CNI specification 1.1, section 1): put in behind the others, and taken out again, so that every byte that is
// not ours stays as its owner wrote it. Pure.
import { isDeepStrictEqual } from "node:util";

import { elementsOf, membersOf, rootOf, type Span } from "./json-spans.ts";

/** Also the name of the file in the runtime's folder of plugins. */
export const pluginType = "chaperone";

/**
 * How runtimes hand annotations of pods to plugins that ask for them (containerd 1.6 and newer, CRI-O): so neither plugin nor agent needs a right to
 * read pods, and none can come too early for the API server to know the pod.
 */
export const annotationsCapability = "io.kubernetes.cri.pod-annotations";

const ourPlugin = { type: pluginType, capabilities: { [annotationsCapability]: true } } as const;
const ourText = JSON.stringify(ourPlugin);

export type Edited = { readonly text: string } | { readonly refused: string };

/** The list with our plugin in it, once, and after another. The same text where it is there already. */
export function chained(text: string): Edited {
  const plugins = pluginsOf(text);
  if (plugins === undefined) return { refused: "it is no list of plugins (JSON with `plugins`)" };
  const [first, ...more] = plugins.filter(({ isOurs }) => isOurs);
  const isThere =
    first !== undefined &&
    more.length === 0 &&
    first !== plugins[0] &&
    isDeepStrictEqual(JSON.parse(text.slice(first.start, first.end)), ourPlugin);
  if (isThere) return { text };
  const others = unchained(text);
  const last = pluginsOf(others)?.at(-1);
  if (last === undefined) return { refused: "it lists no plugin that makes a network" };
  return { text: `${others.slice(0, last.end)},${ourText}${others.slice(last.end)}` };
}

/** The list without our plugin: what it was before `chained`, byte for byte. The same text where there is nothing of ours in it. */
export function unchained(text: string): string {
  const plugins = pluginsOf(text) ?? [];
  const at = plugins.findIndex(({ isOurs }) => isOurs);
  const [before, ours, after] = [plugins[at - 1], plugins[at], plugins[at + 1]];
  if (ours === undefined) return text;
  const cut =
    before !== undefined ? [before.end, ours.end] : [ours.start, after?.start ?? ours.end];
  return unchained(text.slice(0, cut[0]) + text.slice(cut[1]));
}

/** A list made of the configuration of a single plugin (libcni makes the same of it), with ours behind it. */
export function listFrom(text: string): Edited {
  const single = objectOf(text);
  if (typeof single?.["type"] !== "string")
    return { refused: "it is no configuration of a plugin (JSON with `type`)" };
  const { cniVersion, name } = single;
  const head = JSON.stringify({ cniVersion, name }).slice(0, -1);
  return chained(`${head}${head === "{" ? "" : ","}"plugins":[${text.trim()}]}\n`);
}

interface Plugin extends Span {
  readonly isOurs: boolean;
}

/** Undefined when there is no list. */
function pluginsOf(text: string): readonly Plugin[] | undefined {
  if (!Array.isArray(objectOf(text)?.["plugins"])) return undefined;
  // Of members of one name the last counts, for JSON.parse and for Go alike.
  const list = membersOf(text, rootOf(text)).findLast(({ key }) => key === "plugins");
  return elementsOf(text, list?.start ?? 0).map((span) => ({
    ...span,
    isOurs: objectOf(text.slice(span.start, span.end))?.["type"] === pluginType,
  }));
}

function objectOf(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? { ...value }
      : undefined;
  } catch {
    return undefined;
  }
}
