// Puts the rules into the pod's network, whole or not at all, and reads them back.
import { spawnSync } from "node:child_process";

import { rulesCounted, rulesText, table, type RulesOptions } from "./rules.ts";

/** A second is a busy node; longer means that the kernel's lock is held by someone else for good. */
const nftTimeoutMs = 20_000;
/** A table of ours is a few kilobytes. */
const maxOutputBytes = 1024 * 1024;

/** Throws an Error saying what is wrong and what to do. */
export function loadRules(options: RulesOptions): void {
  nft(["-f", "-"], rulesText(options));
  const why = differs(nft(["-j", "list", "table", "inet", table], ""), rulesCounted(options));
  if (why !== undefined) throw new Error(`the rules that were read back are not ours: ${why}`);
}

function nft(args: readonly string[], input: string): string {
  const { error, status, stdout, stderr } = spawnSync("nft", args, {
    input,
    encoding: "utf8",
    timeout: nftTimeoutMs,
    maxBuffer: maxOutputBytes,
  });
  if (error !== undefined) throw new Error(`nft cannot be run: ${error.message}`, { cause: error });
  if (status === 0) return stdout;
  const first = stderr.trim().split("\n")[0] ?? "";
  throw new Error(
    `nft ${args.join(" ")} failed: ${first}; interception redirect needs NET_ADMIN in chaperone-init and a kernel with nf_tables (nat, ct, reject)`,
  );
}

/** @param listed what `nft -j list table` says @returns what is missing or more; undefined when nothing is */
export function differs(listed: string, expected: ReadonlyMap<string, number>): string | undefined {
  const objects = objectsOf(listed);
  const found = new Map<string, number>(
    objects.flatMap(({ chain }) => (chain === undefined ? [] : [[chain, 0] as const])),
  );
  for (const { rule = "" } of objects) {
    const count = found.get(rule);
    if (count !== undefined) found.set(rule, count + 1);
  }
  const more = [...found.keys()].find((name) => !expected.has(name));
  if (more !== undefined) return `there is a chain ${more}`;
  for (const [name, count] of expected)
    if (found.get(name) !== count)
      return `chain ${name} has ${found.get(name) ?? "not one"} of its ${count} rules`;
  return undefined;
}

interface Listed {
  readonly chain?: string;
  readonly rule?: string;
}

/** Names of base chains, and of the chains that rules are in. */
function objectsOf(listed: string): readonly Listed[] {
  const document: unknown = JSON.parse(listed);
  const list = isRecord(document) && Array.isArray(document.nftables) ? document.nftables : [];
  return list.flatMap((entry: unknown): readonly Listed[] => {
    if (!isRecord(entry)) return [];
    const { chain, rule } = entry;
    // Without a hook it would be there and never be asked.
    if (isRecord(chain) && typeof chain.hook === "string") return [{ chain: String(chain.name) }];
    return isRecord(rule) ? [{ rule: String(rule.chain) }] : [];
  });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
