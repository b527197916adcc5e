// The table for ClusterAccessPolicy: what it has in common with AccessPolicy is held by the same cases, and two rules are its own.
import { caseBuilder } from "./cel-case.ts";
import type { CelCase } from "./cel-case.ts";
import { isRecord } from "./defaults.ts";
import { crdSchemas } from "./schemas.gen.ts";

const cluster = caseBuilder("ClusterAccessPolicy", {
  rules: [{ name: "never", action: "Deny", sql: { statements: ["drop"] } }],
});

/** @param policyCases those of AccessPolicy */
export function clusterCases(policyCases: readonly CelCase[]): readonly CelCase[] {
  const own = [
    cluster("spec", "a ClusterAccessPolicy has rules, masking or limits", {
      good: { spec: { limits: { requestsPerMinute: 60 } } },
      bad: { spec: { namespaces: ["agents"] } },
    }),
    cluster("spec.rules[0].action", "a ClusterAccessPolicy restricts and never allows", {
      good: {},
      bad: { "spec.rules[0].action": "Allow" },
    }),
  ].map((one) => ({ ...one, good: ofCluster(one.good), bad: ofCluster(one.bad) }));
  const shared = policyCases
    .filter(({ path }) => /^spec\.(rules|masking|limits)\b/.test(path))
    .map((one) => ({
      ...one,
      kind: "ClusterAccessPolicy" as const,
      good: asCluster(one.good),
      bad: asCluster(one.bad),
    }));
  return [...own, ...shared];
}

/** The same object as a ClusterAccessPolicy, which denies where the other allows. */
function asCluster(object: unknown): unknown {
  if (!isRecord(object) || !isRecord(object["spec"])) return object;
  const known = crdSchemas.ClusterAccessPolicy.properties?.["spec"]?.properties ?? {};
  const spec = Object.fromEntries(
    Object.entries(object["spec"]).filter(([field]) => Object.hasOwn(known, field)),
  );
  const rules = Array.isArray(spec["rules"]) ? spec["rules"].map(denying) : spec["rules"];
  return ofCluster({ ...object, kind: "ClusterAccessPolicy", spec: { ...spec, rules } });
}

function denying(rule: unknown): unknown {
  if (!isRecord(rule) || rule["action"] !== "Allow") return rule;
  // Marks are for what passes, which a Deny lets nothing.
  return rule["marks"] === undefined
    ? { ...rule, action: "Deny" }
    : { ...rule, action: "RequireApproval", approval: { approvers: [{ user: "alice" }] } };
}

function ofCluster(object: unknown): unknown {
  return isRecord(object) ? { ...object, metadata: { name: "case-clusteraccesspolicy" } } : object;
}
