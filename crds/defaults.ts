// Fills in the defaults of a CRD schema as the API server does: only inside objects that are there, and for a null that may not be null.
import type { Schema } from "./schema.ts";

/** Returns a new value; the given one is never changed. What does not fit the schema is passed through for validation to name. */
export function withDefaults(schema: Schema, value: unknown): unknown {
  if (Array.isArray(value)) {
    const { items } = schema;
    return items === undefined ? value : value.map((item: unknown) => withDefaults(items, item));
  }
  if (!isRecord(value)) return value;
  const { additionalProperties, properties } = schema;
  if (additionalProperties !== undefined) {
    return Object.fromEntries(
      Object.entries(value).map(([key, child]) => [key, withDefaults(additionalProperties, child)]),
    );
  }
  if (properties === undefined) return value;
  return objectWithDefaults(properties, value);
}

function objectWithDefaults(
  properties: Readonly<Record<string, Schema>>,
  value: Readonly<Record<string, unknown>>,
): unknown {
  const entries = Object.entries(value).map(([key, child]): [string, unknown] => {
    const schema = Object.hasOwn(properties, key) ? properties[key] : undefined;
    if (schema === undefined) return [key, child];
    return [
      key,
      withDefaults(schema, child === null && schema.default !== undefined ? schema.default : child),
    ];
  });
  for (const [key, schema] of Object.entries(properties)) {
    if (schema.default !== undefined && !Object.hasOwn(value, key))
      entries.push([key, withDefaults(schema, schema.default)]);
  }
  return Object.fromEntries(entries);
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
