// Reads manifests from files and says everything that is wrong with them, with file and line: `chaperone check`, and how local mode loads.
import type { PriceTable } from "../policy/budget/price.ts";
import { conflictProblems } from "./check-conflicts.ts";
import { priceProblems, pricesFrom } from "./check-prices.ts";
import { secretFrom, secretProblems } from "./check-secrets.ts";
import type { SecretManifest } from "./check-secrets.ts";
import { isRecord } from "./defaults.ts";
import { readManifestFile } from "./manifest.ts";
import type { Manifest } from "./manifest.ts";
import { formatPath } from "./problem.ts";
import type { ProblemPath } from "./problem.ts";
import { clusterKinds, crdApiVersion, crdGroup } from "./schema.ts";
import type { CrdKind } from "./schema.ts";
import { crdSchemas } from "./schemas.gen.ts";
import type { AccessPolicy, ClusterAccessPolicy, Connection, Quarantine } from "./types.gen.ts";
import { applyDefaults, createValidator } from "./validate.ts";
import type { Validator } from "./validate.ts";

export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

export interface LocatedProblem {
  readonly file: string;
  readonly line: number;
  /** `Connection agents/orders-db`; empty for a file that is no YAML. */
  readonly object: string;
  /** `spec.endpoint.port`; empty when the object as a whole is meant. */
  readonly path: string;
  readonly message: string;
}

/** An object that passed every check of its own, and where it was written. */
export interface Located<T> {
  readonly object: T;
  readonly manifest: Manifest;
}

export interface CheckResult {
  /** Sorted by file, line and path. Empty means that everything is good. */
  readonly problems: readonly LocatedProblem[];
  readonly connections: readonly Connection[];
  readonly policies: readonly AccessPolicy[];
  readonly clusterPolicies: readonly ClusterAccessPolicy[];
  readonly quarantines: readonly Quarantine[];
  readonly secrets: readonly SecretManifest[];
  /** Of the ConfigMap chaperone-prices. */
  readonly prices: PriceTable | undefined;
}

export interface CheckOptions {
  /** For objects that name none. */
  readonly namespace?: string;
  /** `all`: every Secret that is referred to must be among the files (local mode). `whenAny`: only in namespaces whose Secrets are. */
  readonly secrets?: "all" | "whenAny";
}

/** `read` gives the manifest files of one path, which may be a folder (manifest-files.ts reads real ones). */
export async function checkFiles(
  paths: readonly string[],
  read: (path: string) => Promise<readonly SourceFile[]>,
  options: CheckOptions = {},
): Promise<CheckResult> {
  const files: SourceFile[] = [];
  for (const path of paths) files.push(...(await read(path)));
  return checkSources(files, options);
}

export function checkSources(
  files: readonly SourceFile[],
  options: CheckOptions = {},
): CheckResult {
  const check = new Check(createValidator(), options.namespace ?? "default");
  for (const file of uniqueFiles(files)) check.file(file);
  return check.result(options.secrets ?? "whenAny");
}

/** A folder and a file in it may both be named. */
function uniqueFiles(files: readonly SourceFile[]): Iterable<SourceFile> {
  return new Map(files.map((file) => [file.path, file])).values();
}

export function formatLocated({ file, line, object, path, message }: LocatedProblem): string {
  return [`${file}:${line}`, path || object, message].filter((part) => part !== "").join(": ");
}

class Check {
  readonly #validator: Validator;
  readonly #namespace: string;
  readonly #problems: LocatedProblem[] = [];
  readonly #seen = new Map<string, Manifest>();
  readonly #connections: Located<Connection>[] = [];
  readonly #policies: Located<AccessPolicy>[] = [];
  readonly #clusterPolicies: Located<ClusterAccessPolicy>[] = [];
  readonly #quarantines: Located<Quarantine>[] = [];
  readonly #secrets: Located<SecretManifest>[] = [];
  #prices: PriceTable | undefined;
  /** `namespace/name` of Connections with problems of their own: a policy that targets one is not wrong for that. */
  readonly #brokenConnections = new Set<string>();

  constructor(validator: Validator, namespace: string) {
    this.#validator = validator;
    this.#namespace = namespace;
  }

  file({ path, text }: SourceFile): void {
    const { manifests, problems } = readManifestFile(path, text);
    for (const problem of problems) this.#problems.push({ ...problem, object: "", path: "" });
    for (const manifest of manifests) this.#manifest(manifest);
  }

  result(secrets: "all" | "whenAny"): CheckResult {
    const between = [
      ...conflictProblems(
        this.#connections,
        this.#policies,
        this.#clusterPolicies.map(({ object }) => object),
        this.#brokenConnections,
      ),
      ...secretProblems(this.#connections, this.#secrets, secrets),
      ...(secrets === "all" && this.#prices === undefined
        ? priceProblems([...this.#policies, ...this.#clusterPolicies])
        : []),
    ];
    for (const { manifest, path, message } of between) this.#add(manifest, path, message);
    return {
      problems: this.#problems.toSorted(byPlace),
      connections: this.#connections.map(({ object }) => object),
      policies: this.#policies.map(({ object }) => object),
      clusterPolicies: this.#clusterPolicies.map(({ object }) => object),
      quarantines: this.#quarantines.map(({ object }) => object),
      secrets: this.#secrets.map(({ object }) => object),
      prices: this.#prices,
    };
  }

  /** Other YAML lives beside manifests (values, settings): what has no trait of a manifest is not one. */
  #manifest(manifest: Manifest): void {
    const { apiVersion, kind } = manifest.object;
    if (
      !["apiVersion", "kind", "metadata", "spec"].some((field) =>
        Object.hasOwn(manifest.object, field),
      )
    )
      return;
    if (apiVersion === "v1" && kind === "Secret") this.#secret(this.#withNamespace(manifest));
    else if (apiVersion === "v1" && kind === "ConfigMap")
      this.#configMap(this.#withNamespace(manifest));
    else if (typeof apiVersion !== "string" || typeof kind !== "string")
      this.#add(manifest, [], "has no apiVersion or no kind");
    else if (apiVersion.split("/")[0] === crdGroup)
      this.#ours(this.#withNamespace(manifest), apiVersion, kind);
  }

  #withNamespace(manifest: Manifest): Manifest {
    const { metadata, kind } = manifest.object;
    if (
      clusterKinds.has(String(kind)) ||
      !isRecord(metadata) ||
      (metadata["namespace"] !== undefined && metadata["namespace"] !== null)
    )
      return manifest;
    return {
      ...manifest,
      object: { ...manifest.object, metadata: { ...metadata, namespace: this.#namespace } },
    };
  }

  #ours(manifest: Manifest, apiVersion: string, kind: string): void {
    if (!isCrdKind(kind)) {
      this.#add(
        manifest,
        ["kind"],
        `${crdGroup} has no kind ${kind} in this version; it has ${Object.keys(crdSchemas).join(", ")}`,
      );
      return;
    }
    if (apiVersion !== crdApiVersion) {
      this.#add(manifest, ["apiVersion"], `is ${apiVersion}; this version reads ${crdApiVersion}`);
      return;
    }
    const problems = this.#validator.validate(kind, manifest.object);
    for (const { path, message } of problems) this.#add(manifest, path, message);
    const isNew = this.#remember(manifest);
    if (problems.length === 0 && isNew) this.#keep(kind, manifest);
    else if (kind === "Connection") this.#brokenConnections.add(idOf(manifest));
  }

  #keep(kind: CrdKind, manifest: Manifest): void {
    const object = applyDefaults(kind, manifest.object);
    switch (kind) {
      case "Connection":
        this.#connections.push({ object: object as Connection, manifest });
        return;
      case "AccessPolicy":
        this.#policies.push({ object: object as AccessPolicy, manifest });
        return;
      case "ClusterAccessPolicy":
        this.#clusterPolicies.push({ object: object as ClusterAccessPolicy, manifest });
        return;
      case "Quarantine":
        this.#quarantines.push({ object: object as Quarantine, manifest });
        return;
      case "AccessRequest":
      case "AccessSession":
        this.#add(
          manifest,
          ["kind"],
          `an ${kind} is made by Chaperone while it runs and cannot come from a file`,
        );
    }
  }

  #secret(manifest: Manifest): void {
    const { secret, problems } = secretFrom(manifest.object);
    for (const { path, message } of problems) this.#add(manifest, path, message);
    if (secret !== undefined && this.#remember(manifest))
      this.#secrets.push({ object: secret, manifest });
  }

  #configMap(manifest: Manifest): void {
    const read = pricesFrom(manifest.object);
    if (read === undefined || !this.#remember(manifest)) return;
    for (const { path, message } of read.problems) this.#add(manifest, path, message);
    this.#prices = read.prices ?? this.#prices;
  }

  #remember(manifest: Manifest): boolean {
    const id = `${String(manifest.object["kind"])} ${idOf(manifest)}`;
    const first = this.#seen.get(id);
    if (first === undefined) this.#seen.set(id, manifest);
    else
      this.#add(
        manifest,
        ["metadata", "name"],
        `is defined twice; also at ${first.file}:${first.lineOf(["metadata", "name"])}`,
      );
    return first === undefined;
  }

  #add(manifest: Manifest, path: ProblemPath, message: string): void {
    const { kind } = manifest.object;
    this.#problems.push({
      file: manifest.file,
      line: manifest.lineOf(path),
      object: `${typeof kind === "string" ? kind : "object"} ${idOf(manifest)}`,
      path: formatPath(path),
      message,
    });
  }
}

function isCrdKind(kind: string): kind is CrdKind {
  return Object.hasOwn(crdSchemas, kind);
}

function idOf({ object }: Manifest): string {
  const metadata = isRecord(object["metadata"]) ? object["metadata"] : {};
  const part = (value: unknown): string =>
    typeof value === "string" && value !== "" ? value : "?";
  const name = part(metadata["name"]);
  return clusterKinds.has(String(object["kind"])) ? name : `${part(metadata["namespace"])}/${name}`;
}

function byPlace(a: LocatedProblem, b: LocatedProblem): number {
  return (
    compareText(a.file, b.file) ||
    a.line - b.line ||
    compareText(a.path, b.path) ||
    compareText(a.message, b.message)
  );
}

/** By code units, so that the order is the same everywhere. */
function compareText(a: string, b: string): number {
  return a === b ? 0 : a < b ? -1 : 1;
}
