// Kubernetes objects as they come over the wire: raw JSON, read field by field, never through typed models that drop what they do not know.

export interface KubeMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly deletionTimestamp?: string;
}

/** Any object of the API. What lies beyond the metadata is for whoever knows the kind. */
export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: KubeMeta;
  readonly [field: string]: unknown;
}

export interface ResourceType {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
}

export type JsonObject = Readonly<Record<string, unknown>>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The value at a path of member names; undefined where the way ends early. */
export function fieldAt(value: unknown, ...path: readonly string[]): unknown {
  let at = value;
  for (const name of path) {
    if (!isJsonObject(at)) return undefined;
    at = at[name];
  }
  return at;
}

export function textAt(value: unknown, ...path: readonly string[]): string | undefined {
  const found = fieldAt(value, ...path);
  return typeof found === "string" ? found : undefined;
}

export function listAt(value: unknown, ...path: readonly string[]): readonly unknown[] {
  const found = fieldAt(value, ...path);
  return Array.isArray(found) ? found : [];
}

export function apiVersionOf(type: ResourceType): string {
  return type.group === "" ? type.version : `${type.group}/${type.version}`;
}

/** `namespace/name`, or the name alone for what has no namespace. */
export function keyOf(object: {
  readonly metadata: { readonly namespace?: string; readonly name: string };
}): string {
  const { namespace, name } = object.metadata;
  return namespace === undefined ? name : `${namespace}/${name}`;
}

/**
 * Checks that this is an object of the API and takes `managedFields` off, which are often half of it and mean nothing to us.
 * Items of built-in lists come without `kind`, which `type` then supplies. Throws when it is no object at all.
 */
export function readObject(value: unknown, type: ResourceType): KubeObject {
  const metadata = fieldAt(value, "metadata");
  const name = textAt(metadata, "name");
  const uid = textAt(metadata, "uid");
  const resourceVersion = textAt(metadata, "resourceVersion");
  if (
    !isJsonObject(value) ||
    !isJsonObject(metadata) ||
    name === undefined ||
    uid === undefined ||
    resourceVersion === undefined
  ) {
    throw new TypeError(`the API server sent a ${type.kind} without name, uid or resourceVersion`);
  }
  const rest = Object.fromEntries(
    Object.entries(metadata).filter(([field]) => field !== "managedFields"),
  );
  return {
    ...value,
    apiVersion: apiVersionOf(type),
    kind: type.kind,
    metadata: { ...rest, name, uid, resourceVersion },
  };
}

export function collectionPath(type: ResourceType, namespace?: string): string {
  const root = type.group === "" ? `/api/${type.version}` : `/apis/${type.group}/${type.version}`;
  const scope = namespace === undefined ? "" : `/namespaces/${encodeURIComponent(namespace)}`;
  return `${root}${scope}/${type.plural}`;
}

export function objectPath(
  type: ResourceType,
  namespace: string | undefined,
  name: string,
  subresource?: string,
): string {
  const path = `${collectionPath(type, namespace)}/${encodeURIComponent(name)}`;
  return subresource === undefined ? path : `${path}/${subresource}`;
}
