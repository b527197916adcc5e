// Secrets in manifests: their decoded values for local mode, and whether what Connections ask of them is there.
import type { Located } from "./check.ts";
import type { PlacedProblem } from "./check-conflicts.ts";
import { isRecord } from "./defaults.ts";
import { nameType } from "./messages.ts";
import { metadataProblems } from "./metadata.ts";
import type { ProblemPath } from "./problem.ts";
import type { Connection } from "./types.gen.ts";

export interface SecretManifest {
  readonly namespace: string;
  readonly name: string;
  /** Decoded; `stringData` wins over `data`, as in the API server. */
  readonly values: Readonly<Record<string, string>>;
}

interface SecretReading {
  readonly secret: SecretManifest | undefined;
  readonly problems: readonly { readonly path: ProblemPath; readonly message: string }[];
}

/** Messages never repeat a value. */
export function secretFrom(object: Readonly<Record<string, unknown>>): SecretReading {
  const values = new Map<string, string>();
  const problems: { path: ProblemPath; message: string }[] = metadataProblems(
    object["metadata"],
  ).map(({ path, message }) => ({ path, message }));
  for (const field of ["data", "stringData"] as const) {
    const entries = object[field] ?? {};
    if (!isRecord(entries)) {
      problems.push({ path: [field], message: `must be an object, not ${nameType(entries)}` });
      continue;
    }
    for (const [key, value] of Object.entries(entries)) {
      const text =
        typeof value !== "string" ? undefined : field === "data" ? decodeBase64(value) : value;
      if (text !== undefined) values.set(key, text);
      else
        problems.push({
          path: [field, key],
          message:
            typeof value === "string"
              ? "is no base64; plain text goes into stringData"
              : `must be text, not ${nameType(value)}: write it in quotes`,
        });
    }
  }
  const metadata = isRecord(object["metadata"]) ? object["metadata"] : {};
  const { name, namespace } = metadata;
  if (problems.length > 0 || typeof name !== "string" || typeof namespace !== "string")
    return { secret: undefined, problems };
  return { secret: { namespace, name, values: Object.fromEntries(values) }, problems };
}

function decodeBase64(text: string): string | undefined {
  const compact = text.replaceAll(/[\r\n]/g, "");
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(compact))
    return undefined;
  return Buffer.from(compact, "base64").toString("utf8");
}

/** A repository without Secrets is usual (they come from elsewhere); one that has some of a namespace should have those it names. */
export function secretProblems(
  connections: readonly Located<Connection>[],
  secrets: readonly Located<SecretManifest>[],
  demand: "all" | "whenAny",
): readonly PlacedProblem[] {
  const byId = new Map(secrets.map(({ object }) => [`${object.namespace}/${object.name}`, object]));
  const namespaces = new Set(secrets.map(({ object }) => object.namespace));
  return connections.flatMap(({ object, manifest }) => {
    const { namespace } = object.metadata;
    return secretUses(object.spec).flatMap(({ name, namePath, keys }): readonly PlacedProblem[] => {
      const secret = byId.get(`${namespace}/${name}`);
      if (secret !== undefined) {
        return keys
          .filter(({ key }) => !Object.hasOwn(secret.values, key))
          .map(({ key, path }) => ({
            manifest,
            path,
            message: `Secret ${name} has no key ${key}; it has ${Object.keys(secret.values).join(", ") || "none"}`,
          }));
      }
      if (demand === "whenAny" && !namespaces.has(namespace)) return [];
      return [
        {
          manifest,
          path: namePath,
          message: `no Secret ${name} in namespace ${namespace} among the files`,
        },
      ];
    });
  });
}

interface SecretUse {
  readonly name: string;
  readonly namePath: ProblemPath;
  readonly keys: readonly { readonly key: string; readonly path: ProblemPath }[];
}

function secretUses(spec: Connection["spec"]): readonly SecretUse[] {
  const uses: SecretUse[] = [];
  const ca = spec.endpoint.tls?.caSecretRef;
  if (ca !== undefined) {
    const at = ["spec", "endpoint", "tls", "caSecretRef"];
    uses.push({
      name: ca.name,
      namePath: [...at, "name"],
      keys: [{ key: ca.key, path: [...at, "key"] }],
    });
  }
  const certificate = spec.endpoint.tls?.clientCertificateSecretRef;
  if (certificate !== undefined) {
    const namePath = ["spec", "endpoint", "tls", "clientCertificateSecretRef", "name"];
    uses.push({
      name: certificate.name,
      namePath,
      keys: ["tls.crt", "tls.key"].map((key) => ({ key, path: namePath })),
    });
  }
  const source = spec.credential?.static;
  if (source !== undefined) {
    const at = ["spec", "credential", "static"];
    const keys = [
      ...(source.usernameKey === undefined
        ? []
        : [{ key: source.usernameKey, path: [...at, "usernameKey"] }]),
      ...(source.passwordKey === undefined
        ? []
        : [{ key: source.passwordKey, path: [...at, "passwordKey"] }]),
      ...(["header", "query"] as const).flatMap((form) =>
        templateKeys(source[form]?.value ?? "").map((key) => ({
          key,
          path: [...at, form, "value"],
        })),
      ),
      ...(source.basic === undefined ? [] : keysAt(source.basic, [...at, "basic"])),
    ];
    uses.push({ name: source.secretRef.name, namePath: [...at, "secretRef", "name"], keys });
  }
  const role = spec.credential?.postgresRole;
  if (role !== undefined) {
    const at = ["spec", "credential", "postgresRole"];
    uses.push({
      name: role.adminSecretRef.name,
      namePath: [...at, "adminSecretRef", "name"],
      keys: keysAt(role, at),
    });
  }
  return uses;
}

function keysAt(
  { usernameKey, passwordKey }: { readonly usernameKey: string; readonly passwordKey: string },
  at: ProblemPath,
): SecretUse["keys"] {
  return [
    { key: usernameKey, path: [...at, "usernameKey"] },
    { key: passwordKey, path: [...at, "passwordKey"] },
  ];
}

/** The keys of `${key}` references, each once, in order. */
export function templateKeys(template: string): readonly string[] {
  return [
    ...new Set([...template.matchAll(/\$\{([-._a-zA-Z0-9]+)\}/g)].map(([, key]) => key ?? "")),
  ];
}
