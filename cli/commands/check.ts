// `check`: validates manifests offline with the very code that admission uses; every error at once.
import { checkFiles, formatLocated } from "../../crds/check.ts";
import { readManifestFiles } from "../../crds/manifest-files.ts";
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
      `good: ${connections.length} connections, ${policies.length} policies, ${quarantines.length} quarantines\n`,
    );
}
