// Puts the rules into the pod's network, whole or not at all, and reads them back.
import { execFile } from "node:child_process";

import { rulesCounted, rulesText, table, type RulesOptions } from "./rules.ts";

/** A second is a busy node; longer means that the kernel's lock is held by someone else for good. */
const nftTimeoutMs = 20_000;
/** A table of ours is a few kilobytes. */
const maxOutputBytes = 1024 * 1024;

/** Whose network: the program's own, or the one of this file of the network namespaces (nsenter(1)). */
export interface Network {
  readonly namespaceFile?: string;
}

/** @throws Error saying what is wrong and what to do */
export async function loadRules(options: RulesOptions, network: Network = {}): Promise<void> {
  await nft(["-f", "-"], network, rulesText(options));
  await checkRules(options, network);
}

/** @throws Error saying in what the rules that stand there are not those that were asked for */
export async function checkRules(options: RulesOptions, network: Network = {}): Promise<void> {
  const listed = await nft(["-j", "list", "table", "inet", table], network);
  const why = differs(listed, rulesCounted(options));
  if (why !== undefined) throw new Error(`the rules that were read back are not ours: ${why}`);
}

function nft(
  args: readonly string[],
  { namespaceFile }: Network,
  input: string = "",
): Promise<string> {
  const [program, ...all] =
    namespaceFile === undefined
      ? (["nft", ...args] as const)
      : (["nsenter", `--net=${namespaceFile}`, "nft", ...args] as const);
  return new Promise((resolve, reject) => {
    const child = execFile(
      program,
      all,
      { encoding: "utf8", timeout: nftTimeoutMs, maxBuffer: maxOutputBytes },
      (error, stdout, stderr) => {
        if (error === null) resolve(stdout);
        else reject(nftError(error, program, args, stderr));
      },
    );
    // One that ends before it has read all says why.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(input);
  });
}

function nftError(
  error: Error & { readonly code?: unknown; readonly killed?: boolean },
  program: string,
  args: readonly string[],
  stderr: string,
): Error {
  if (typeof error.code === "string")
    return new Error(`${program} cannot be run: ${error.code}`, { cause: error });
  const first =
    error.killed === true
      ? `no answer in ${nftTimeoutMs / 1000} s`
      : (stderr.trim().split("\n")[0] ?? "");
  return new Error(
    `nft ${args.join(" ")} failed: ${first}; interception redirect needs NET_ADMIN in the pod's network and a kernel with nf_tables (nat, ct, reject)`,
    { cause: error },
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
