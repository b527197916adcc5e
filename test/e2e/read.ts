// Reads objects of the API without knowing their types.

export function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? Object(value) : {};
}

export function values(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function spec(value: unknown): Readonly<Record<string, unknown>> {
  return asRecord(asRecord(value)["spec"]);
}
