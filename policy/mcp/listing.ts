// Which tools, resources and prompts an agent gets to see: those of which some use could pass. Arguments and conditions are asked
// when a call comes; here they are taken to be in the agent's favour.
import { canShareText } from "../conflict-dead.ts";
import type { PreparedBundle } from "../decide.ts";
import { mcpNameMismatch } from "../match/mcp.ts";
import type { PreparedRule } from "../match/rule.ts";
import type { McpAccess, Subject } from "../operation.ts";
import { matchesAny } from "../pattern.ts";
import type { PatternList } from "../pattern.ts";

export interface Listed {
  readonly method: "tools/call" | "prompts/get" | "resources/read";
  readonly name: string;
  /** A URI template (RFC 6570): it stands for many resources, and is shown where one of them could be read. */
  readonly isTemplate?: true;
}

export function mayUse(
  { bundle, enforced }: PreparedBundle,
  chain: Subject["chain"],
  listed: Listed,
): boolean {
  if (bundle.policies.length === 0) return false;
  if (bundle.observeOnly) return true;
  const access = accessOf(listed);
  const template =
    listed.isTemplate === true ? listed.name.replaceAll(/\{[^{}]*\}/g, "*") : undefined;
  if (enforced.denies.mcp.some((rule) => denies(rule, access, template))) return false;
  return [...enforced.allows.mcp, ...enforced.approvals.mcp].some((rule) =>
    permits(rule, chain, access, template),
  );
}

/** Of what is in a list, as it would be used. */
export function accessOf({ method, name }: Listed): McpAccess {
  switch (method) {
    case "tools/call":
      return { kind: "mcp", method, tool: name };
    case "prompts/get":
      return { kind: "mcp", method, prompt: name };
    case "resources/read":
      return { kind: "mcp", method, resource: name };
    default:
      return method satisfies never;
  }
}

function denies(
  { mcp, when }: PreparedRule,
  access: McpAccess,
  template: string | undefined,
): boolean {
  if (mcp === undefined || when !== undefined || mcp.arguments !== undefined) return false;
  // A pattern that takes up the `*` of a template takes up whatever may stand there.
  const asked = template === undefined ? access : { ...access, resource: template };
  return mcpNameMismatch(mcp, asked, "denies") === undefined;
}

function permits(
  { mcp, chains }: PreparedRule,
  chain: Subject["chain"],
  access: McpAccess,
  template: string | undefined,
): boolean {
  if (mcp === undefined) return false;
  if (chains !== undefined && !(chain !== undefined && matchesAny(chains, chain))) return false;
  if (template === undefined || mcp.resources === undefined)
    return mcpNameMismatch(mcp, access, "covers") === undefined;
  const others = { ...mcp, resources: undefined };
  return (
    mcpNameMismatch(others, access, "covers") === undefined && mayMeet(mcp.resources, template)
  );
}

function mayMeet({ literals, wildcards }: PatternList, template: string): boolean {
  return [...literals, ...wildcards.map(({ source }) => source)].some((pattern) =>
    canShareText(pattern, template),
  );
}
