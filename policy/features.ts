// What a bundle asks of the proxy that is to enforce it. A proxy that lacks one of them must refuse the bundle (`ProxyTooOld`).
import type { Bundle } from "./bundle.ts";
import { speaksOfMarks } from "./marks.ts";

/** Everything this version enforces. Never rename one: older proxies know them by these words. */
export const supportedFeatures = [
  "approval",
  "cluster",
  "chains",
  "http.upgrades",
  "limits.bytesPerResult",
  "limits.costPerDay",
  "limits.idleTimeoutSeconds",
  "limits.maxConnections",
  "limits.repeats",
  "limits.requestsPerMinute",
  "limits.rowsPerResult",
  "limits.statementTimeoutSeconds",
  "limits.tokensPerDay",
  "limits.tokensPerMinute",
  "llm.detect",
  "marks",
  "mask.columns",
  "mask.detect",
  "mask.detect.pattern",
  "mask.predicates",
  "mask.request",
  "mask.restore",
  "mask.tokenize",
  "mask.when",
  "mcp",
  "observe",
  "passthrough",
  "recording.strict",
  "sql.detect",
  "when",
] as const;

export type Feature = (typeof supportedFeatures)[number];

type Content = Omit<Bundle, "requires" | "generation">;

const tests: Readonly<Record<Feature, (bundle: Content) => boolean>> = {
  approval: ({ rules }) => rules.some((rule) => rule.action === "RequireApproval"),
  // Who does not know such rules would take one that asks a person for a permission.
  cluster: ({ clusterPolicies }) => clusterPolicies !== undefined,
  chains: ({ rules }) => rules.some((rule) => rule.chains !== undefined),
  "http.upgrades": ({ rules }) => rules.some(({ http }) => http?.upgrades !== undefined),
  "limits.bytesPerResult": ({ limits }) => limits.bytesPerResult !== undefined,
  "limits.costPerDay": ({ limits }) => limits.costPerDay !== undefined,
  "limits.idleTimeoutSeconds": ({ limits }) => limits.idleTimeoutSeconds !== undefined,
  "limits.maxConnections": ({ limits }) => limits.maxConnections !== undefined,
  "limits.repeats": ({ limits }) => limits.repeats !== undefined,
  "limits.requestsPerMinute": ({ limits }) => limits.requestsPerMinute !== undefined,
  "limits.rowsPerResult": ({ limits }) => limits.rowsPerResult !== undefined,
  "limits.statementTimeoutSeconds": ({ limits }) => limits.statementTimeoutSeconds !== undefined,
  "limits.tokensPerDay": ({ limits }) => limits.tokensPerDay !== undefined,
  "limits.tokensPerMinute": ({ limits }) => limits.tokensPerMinute !== undefined,
  "llm.detect": ({ rules }) => rules.some(({ llm }) => llm?.detect !== undefined),
  marks: (bundle) => speaksOfMarks(bundle),
  "mask.columns": ({ columnMasks }) => columnMasks.length > 0,
  "mask.detect": ({ detectMasks }) => detectMasks.length > 0,
  "mask.detect.pattern": ({ detectMasks, requestMasks = [] }) =>
    [...detectMasks, ...requestMasks].some(({ pattern }) => pattern !== undefined),
  "mask.request": ({ requestMasks }) => requestMasks !== undefined,
  "mask.predicates": ({ columnMasks }) =>
    columnMasks.some(({ predicates }) => predicates === "Allow"),
  "mask.restore": ({ requestMasks = [] }) =>
    requestMasks.some(({ transform }) => transform.kind === "restore"),
  "mask.tokenize": ({ columnMasks, detectMasks, requestMasks = [] }) =>
    [...columnMasks, ...detectMasks, ...requestMasks].some(
      ({ transform }) => transform.kind === "tokenize",
    ),
  "mask.when": ({ detectMasks, requestMasks = [] }) =>
    [...detectMasks, ...requestMasks].some(({ when }) => when !== undefined),
  // A rule about tools is void to a proxy that does not know them, and so is the protocol.
  mcp: ({ connection, rules }) =>
    connection.protocol === "mcp" || rules.some((rule) => rule.mcp !== undefined),
  observe: ({ observeOnly, rules }) => observeOnly || rules.some((rule) => rule.mode === "Observe"),
  passthrough: ({ connection }) => connection.protocol === "passthrough",
  "recording.strict": ({ recording }) => recording.strict,
  "sql.detect": ({ rules }) => rules.some(({ sql }) => sql?.detect !== undefined),
  when: ({ rules }) => rules.some((rule) => rule.when !== undefined),
};

export function requiredFeatures(bundle: Content): Feature[] {
  return supportedFeatures.filter((feature) => tests[feature](bundle));
}

/** Those of `requires` that this version does not know; empty means the bundle can be enforced. */
export function missingFeatures(requires: readonly string[]): string[] {
  return requires.filter((feature) => !supportedFeatures.some((known) => known === feature));
}
