// The manifests of local mode: read whole or refused whole, and read again when they change.
import { checkFiles, formatLocated, type CheckResult } from "../../crds/check.ts";
import { readManifestFiles } from "../../crds/manifest-files.ts";
import { allowsNamespace } from "../../operator/grants/govern.ts";
import { connectionName } from "../../operator/connections/endpoint.ts";
import type { Connection } from "../../crds/types.gen.ts";
import { Failure } from "../exit.ts";
import type { FileView } from "./view.ts";

export interface ManifestOptions {
  readonly files: readonly string[];
  readonly namespace: string | undefined;
  /** What people should know: a broken file, a reload. One line each, without the newline. */
  readonly say: (line: string) => void;
}

/** Throws Failure with every error at once. */
export async function loadManifests({ files, namespace }: ManifestOptions): Promise<CheckResult> {
  const result = await checkFiles(files, readManifestFiles, {
    secrets: "all",
    namespace: namespace ?? "default",
  });
  if (result.problems.length > 0) {
    const lines = result.problems.map((problem) => `  ${formatLocated(problem)}`);
    throw new Failure(`the manifests have errors:\n${lines.join("\n")}`);
  }
  if (result.connections.length === 0)
    throw new Failure(`no Connection stands in ${files.join(", ")}; an agent could reach nothing`);
  return result;
}

/** A broken change is told, and the last good state stays. */
export async function reloadManifests(
  options: ManifestOptions,
  view: FileView,
  namespace: string,
): Promise<void> {
  try {
    const loaded = await loadManifests(options);
    const before = new Set(view.allConnections().map(connectionName));
    view.replace(loaded);
    options.say("manifests reloaded");
    const added = loaded.connections.filter(
      (connection) =>
        connection.metadata.namespace === namespace && !before.has(connectionName(connection)),
    );
    if (added.length > 0)
      options.say(
        `new connections get an address at the next start: ${added.map(connectionName).join(", ")}`,
      );
  } catch (error) {
    options.say(
      `${error instanceof Error ? error.message : String(error)}\nthe last good state stays in force`,
    );
  }
}

/** Of the caller, when the manifests agree. */
export function onlyNamespace(loaded: CheckResult): string {
  const namespaces = [...new Set(loaded.connections.map(({ metadata }) => metadata.namespace))];
  const [first] = namespaces;
  if (first === undefined || namespaces.length > 1)
    throw new Failure(
      `the manifests name the namespaces ${namespaces.join(", ")}; say which the caller is in with --namespace`,
    );
  return first;
}

/** The caller's own connections, and those of other namespaces that admit its own. */
export function reachableConnections(view: FileView, namespace: string): readonly Connection[] {
  return view
    .allConnections()
    .filter(
      (connection) =>
        connection.metadata.namespace === namespace || allowsNamespace(connection, namespace),
    );
}
