// The part of OpenAPI v3 that our CustomResourceDefinitions use, as data; schemas.gen.ts holds the definitions themselves.

export type CrdKind =
  | "Connection"
  | "AccessPolicy"
  | "ClusterAccessPolicy"
  | "AccessRequest"
  | "Quarantine"
  | "AccessSession";

/** Kinds that belong to no namespace. */
export const clusterKinds: ReadonlySet<string> = new Set<CrdKind>(["ClusterAccessPolicy"]);

export const crdGroup = "chaperone.dev";
export const crdVersion = "v1alpha1";
export const crdApiVersion = `${crdGroup}/${crdVersion}` as const;

/** One entry of `x-kubernetes-validations`. */
export interface CelRule {
  readonly rule: string;
  readonly message: string;
  readonly messageExpression?: string;
  /** Simple dotted path below the node, `.endpoint.host`. */
  readonly fieldPath?: string;
}

export interface Schema {
  readonly type?: "object" | "array" | "string" | "integer" | "boolean";
  readonly title?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: Schema;
  readonly items?: Schema;
  readonly enum?: readonly string[];
  readonly default?: unknown;
  readonly pattern?: string;
  readonly format?: "date-time" | "int32" | "int64";
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly maxProperties?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly "x-kubernetes-list-type"?: "atomic" | "set" | "map";
  readonly "x-kubernetes-list-map-keys"?: readonly string[];
  readonly "x-kubernetes-preserve-unknown-fields"?: boolean;
  readonly "x-kubernetes-int-or-string"?: boolean;
  readonly "x-kubernetes-validations"?: readonly CelRule[];
}
