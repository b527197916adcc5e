// Secrets in manifests: their decoded values for local mode, and whether what Connections ask of them is there.
import type { Located } from "./check.ts";
import type { PlacedProblem } from "./check-conflicts.ts";
import { isRecord } from "./defaults.ts";
import { nameType } from "./messages.ts";
import { metadataProblems } from "./metadata.ts";
import type { ProblemPath } from "./problem.ts";
import type {
  Connection,
  OAuth2Credential,
  SecretKeyReference,
  StaticCredential,
} from "./types.gen.ts";

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
  const { endpoint, credential } = spec;
  const tls = ["spec", "endpoint", "tls"];
  const from = ["spec", "credential"];
  return [
    ...bundleUse(endpoint.tls?.caSecretRef, [...tls, "caSecretRef"]),
    ...certificateUse(endpoint.tls?.clientCertificateSecretRef, [
      ...tls,
      "clientCertificateSecretRef",
    ]),
    ...staticUse(credential?.static, [...from, "static"]),
    ...use(credential?.postgresRole, "adminSecretRef", [...from, "postgresRole"]),
    ...use(credential?.oauth2, "secretRef", [...from, "oauth2"]),
    ...bundleUse(credential?.oauth2?.caSecretRef, [...from, "oauth2", "caSecretRef"]),
    ...exchangeKeys(credential?.oauth2, [...from, "oauth2"]),
    ...use(credential?.awsSigV4, "secretRef", [...from, "awsSigV4"]),
  ];
}

function bundleUse(ca: SecretKeyReference | undefined, at: ProblemPath): SecretUse[] {
  if (ca === undefined) return [];
  return [
    { name: ca.name, namePath: [...at, "name"], keys: [{ key: ca.key, path: [...at, "key"] }] },
  ];
}

function certificateUse(
  certificate: { readonly name: string } | undefined,
  at: ProblemPath,
): SecretUse[] {
  if (certificate === undefined) return [];
  const namePath = [...at, "name"];
  const keys = ["tls.crt", "tls.key"].map((key) => ({ key, path: namePath }));
  return [{ name: certificate.name, namePath, keys }];
}

function staticUse(source: StaticCredential | undefined, at: ProblemPath): SecretUse[] {
  if (source === undefined) return [];
  const keys = [
    ...keysIn(source, at),
    ...keysIn(source.basic ?? {}, [...at, "basic"]),
    ...(["header", "query"] as const).flatMap((form) =>
      templateKeys(source[form]?.value ?? "").map((key) => ({ key, path: [...at, form, "value"] })),
    ),
  ];
  return [{ name: source.secretRef.name, namePath: [...at, "secretRef", "name"], keys }];
}

/** A source whose own `…Key` fields name all that it takes from its Secret. */
function use<Field extends "secretRef" | "adminSecretRef">(
  source: ({ readonly [Name in Field]: { readonly name: string } } & object) | undefined,
  field: Field,
  at: ProblemPath,
): SecretUse[] {
  if (source === undefined) return [];
  return [{ name: source[field].name, namePath: [...at, field, "name"], keys: keysIn(source, at) }];
}

function exchangeKeys(oauth2: OAuth2Credential | undefined, at: ProblemPath): SecretUse[] {
  if (oauth2?.tokenExchange === undefined) return [];
  const keys = keysIn(oauth2.tokenExchange, [...at, "tokenExchange"]);
  return [{ name: oauth2.secretRef.name, namePath: [...at, "secretRef", "name"], keys }];
}

function keysIn(fields: object, at: ProblemPath): SecretUse["keys"] {
  return Object.entries(fields).flatMap(([field, key]: [string, unknown]) =>
    field.endsWith("Key") && typeof key === "string" ? [{ key, path: [...at, field] }] : [],
  );
}

/** The keys of `${key}` references, each once, in order. */
export function templateKeys(template: string): readonly string[] {
  return [
    ...new Set([...template.matchAll(/\$\{([-._a-zA-Z0-9]+)\}/g)].map(([, key]) => key ?? "")),
  ];
}
