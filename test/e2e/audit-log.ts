// What the API server of the local cluster wrote into its audit log; another provider's is out of reach.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { pathsOf } from "../cluster/settings.ts";
import { config } from "./cluster.ts";
import { asRecord } from "./read.ts";

const failure = "validation.policy.admission.k8s.io/validation_failure";

/** The policies that refused this user, by name, from what the log says of them; undefined where there is no log to read. */
export async function policiesThatRefused(user: string): Promise<ReadonlySet<string> | undefined> {
  const { auditLog } = pathsOf(config);
  // The two clusters may be up at the same time, and share a folder.
  if (config.provider !== "local" || !existsSync(auditLog)) return undefined;
  const lines = (await readFile(auditLog, "utf8")).split("\n").filter((line) => line !== "");
  const names = lines.flatMap((line) => {
    const event = asRecord(JSON.parse(line));
    if (asRecord(event["impersonatedUser"])["username"] !== user) return [];
    const said = asRecord(event["annotations"])[failure];
    return typeof said === "string"
      ? [...said.matchAll(/"policy":"([^"]+)"/g)].map(([, name = ""]) => name)
      : [];
  });
  return new Set(names);
}
