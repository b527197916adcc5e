// Fields of one `mcp` block that contradict each other, so that no message can match it, and whether one block speaks about all of another.
import type { McpMatch, RuleAction } from "./bundle.ts";
import type { DeadField } from "./conflict-dead.ts";
import { canShareText } from "./conflict-dead.ts";
import { askedOfClients } from "./mcp/methods.ts";
import { compilePattern, matches } from "./pattern.ts";

/** Which methods have what a field is about. */
const methodsWith = {
  tools: ["tools/call", "tools/changed"],
  prompts: ["prompts/get", "completion/complete"],
  resources: [
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "subscriptions/listen",
    "completion/complete",
  ],
  arguments: ["tools/call", "prompts/get", "completion/complete"],
} as const;

export function deadMcp(block: McpMatch, action: RuleAction): readonly DeadField[] {
  const { methods } = block;
  if (methods === undefined) return [];
  const dead: DeadField[] = [];
  for (const [field, able] of Object.entries(methodsWith) as [
    keyof typeof methodsWith,
    readonly string[],
  ][])
    if (block[field] !== undefined && !able.some((method) => names(methods, method)))
      dead.push({
        path: ["mcp", field],
        message: `can never match: only ${able.join(", ")} have them, and methods lists none of these`,
      });
  if (action === "RequireApproval")
    for (const [index, method] of methods.entries())
      if ([...askedOfClients.keys()].some((asked) => asked === method))
        dead.push({
          path: ["mcp", "methods", index],
          message: `cannot be held for a person: the server waits for what it asks of the agent; Allow ${method} or leave it out`,
        });
  return dead;
}

function names(patterns: readonly string[], method: string): boolean {
  return patterns.some((pattern) => canShareText(pattern, method));
}

export function coversMcp(wide: McpMatch, narrow: McpMatch): boolean {
  return (
    coversList(wide.methods, narrow.methods) &&
    coversList(wide.tools, narrow.tools) &&
    coversList(wide.resources, narrow.resources) &&
    coversList(wide.prompts, narrow.prompts) &&
    Object.entries(wide.arguments ?? {}).every(
      ([path, pattern]) =>
        narrow.arguments !== undefined &&
        Object.hasOwn(narrow.arguments, path) &&
        narrow.arguments[path] === pattern,
    )
  );
}

/** A `*` of the narrower pattern is one more character, which only a `*` of the wider one can take up. */
function coversList(
  wide: readonly string[] | undefined,
  narrow: readonly string[] | undefined,
): boolean {
  if (wide === undefined) return true;
  return (
    narrow !== undefined &&
    narrow.every((item) => wide.some((pattern) => matches(compilePattern(pattern), item)))
  );
}
