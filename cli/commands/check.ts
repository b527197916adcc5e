// `check`: validates manifests offline with the very code that admission uses; every error at once.
import { checkFiles, formatLocated } from "../../crds/check.ts";
import { readManifestFiles } from "../../crds/manifest-files.ts";
import type { AccessPolicy, ClusterAccessPolicy } from "../../crds/types.gen.ts";
import { budgetNames } from "../../policy/budget/budget.ts";
import { AnswerNo, WrongUse } from "../exit.ts";
import { json, plain } from "../output.ts";

export async function check(options: {
  file: string[];
  namespace: string;
  output: string;
}): Promise<void> {
  const result = await checkFiles(options.file, readManifestFiles, {
    namespace: options.namespace,
    secrets: "whenAny",
  }).catch((error: unknown) => {
    throw new WrongUse(error instanceof Error ? error.message : String(error));
  });
  const { problems } = result;
  if (options.output === "json") process.stdout.write(json(problems));
  else for (const problem of problems) process.stderr.write(`${plain(formatLocated(problem))}\n`);
  if (problems.length > 0) throw new AnswerNo();
  const { connections, quarantines } = result;
  const policies = [...result.policies, ...result.clusterPolicies];
  if (options.output !== "json")
    process.stdout.write(
      `good: ${connections.length} connections, ${policies.length} policies, ${quarantines.length} quarantines\n${policies.flatMap(budgetLine).join("")}`,
    );
}

/** What people look for last: how much an agent may spend. */
function budgetLine({ metadata, spec }: AccessPolicy | ClusterAccessPolicy): string[] {
  const limits = spec.limits ?? {};
  const set = budgetNames.flatMap((name) =>
    limits[name] === undefined ? [] : [`${name} ${limits[name]}`],
  );
  const { repeats } = limits;
  if (repeats !== undefined) set.push(`repeats ${repeats.max} within ${repeats.within}`);
  return set.length === 0 ? [] : [plain(`policy ${nameOf(metadata)}: ${set.join(", ")}`) + "\n"];
}

function nameOf(metadata: { readonly name: string; readonly namespace?: string }): string {
  return metadata.namespace === undefined
    ? metadata.name
    : `${metadata.namespace}/${metadata.name}`;
}
