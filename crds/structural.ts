// The first stage: types, bounds, forms and unknown fields, read from the same schemas as the API server reads.
// Follows the schema, never the data, so its depth and time are bounded whatever the object holds.
import { isRecord } from "./defaults.ts";
import { describeForm, describeUnknownField, nameType, quote } from "./messages.ts";
import type { Problem, ProblemPath } from "./problem.ts";
import type { Schema } from "./schema.ts";

export interface StructuralReading {
  readonly problems: readonly Problem[];
  /** Missing, mistyped or oversized parts: a CEL rule of a node that holds one has nothing sound to look at. */
  readonly unsound: readonly ProblemPath[];
}

/** A large list of strings can hold a wrong one at every place. */
const maxFindings = 200;

export function readStructure(schema: Schema, value: unknown): StructuralReading {
  const findings = new Findings();
  visit(schema, value, [], findings);
  return findings;
}

class Findings implements StructuralReading {
  readonly problems: Problem[] = [];
  readonly unsound: ProblemPath[] = [];

  add(path: ProblemPath, message: string): void {
    if (this.problems.length < maxFindings)
      this.problems.push({ path, message, stage: "structural" });
  }

  block(path: ProblemPath, message: string): void {
    if (this.unsound.length < maxFindings) this.unsound.push(path);
    this.add(path, message);
  }
}

function visit(schema: Schema, value: unknown, path: ProblemPath, findings: Findings): void {
  if (schema["x-kubernetes-int-or-string"] === true) {
    if (typeof value === "string") visitString(schema, value, path, findings);
    else if (!isInteger(value))
      findings.block(path, `must be a whole number or text, not ${nameType(value)}`);
    return;
  }
  switch (schema.type) {
    case "object":
      if (isRecord(value)) visitObject(schema, value, path, findings);
      else findings.block(path, `must be an object, not ${nameType(value)}`);
      return;
    case "array":
      if (Array.isArray(value)) visitArray(schema, value, path, findings);
      else findings.block(path, `must be a list, not ${nameType(value)}`);
      return;
    case "string":
      if (typeof value === "string") visitString(schema, value, path, findings);
      else
        findings.block(
          path,
          `must be text, not ${nameType(value)}${typeof value === "object" ? "" : ": write it in quotes"}`,
        );
      return;
    case "integer":
      if (isInteger(value)) visitInteger(schema, value, path, findings);
      else findings.block(path, `must be a whole number, not ${nameType(value)}`);
      return;
    case "boolean":
      if (typeof value !== "boolean")
        findings.block(path, `must be true or false, not ${nameType(value)}`);
      return;
    default:
      findings.block(path, "has a schema without a type");
  }
}

function visitObject(
  schema: Schema,
  value: Readonly<Record<string, unknown>>,
  path: ProblemPath,
  findings: Findings,
): void {
  const entries = Object.entries(value);
  if (schema.maxProperties !== undefined && entries.length > schema.maxProperties) {
    findings.block(
      path,
      `has ${entries.length} entries; at most ${schema.maxProperties} are allowed`,
    );
    return;
  }
  for (const name of schema.required ?? []) {
    if (!Object.hasOwn(value, name)) findings.block([...path, name], "is required");
  }
  for (const [name, child] of entries) visitField(schema, name, child, path, findings);
}

function visitField(
  schema: Schema,
  name: string,
  value: unknown,
  path: ProblemPath,
  findings: Findings,
): void {
  const known =
    schema.properties !== undefined && Object.hasOwn(schema.properties, name)
      ? schema.properties[name]
      : undefined;
  const child = known ?? schema.additionalProperties;
  if (child !== undefined) visit(child, value, [...path, name], findings);
  else if (schema["x-kubernetes-preserve-unknown-fields"] !== true) {
    findings.add([...path, name], describeUnknownField(name, Object.keys(schema.properties ?? {})));
  }
}

function visitArray(
  schema: Schema,
  value: readonly unknown[],
  path: ProblemPath,
  findings: Findings,
): void {
  if (schema.maxItems !== undefined && value.length > schema.maxItems) {
    findings.block(path, `has ${value.length} items; at most ${schema.maxItems} are allowed`);
    return;
  }
  if (schema.minItems !== undefined && value.length < schema.minItems) {
    findings.add(
      path,
      "is an empty list, which matches nothing: name at least one, or leave the field out",
    );
  }
  const { items } = schema;
  if (items !== undefined)
    for (const [index, item] of value.entries()) visit(items, item, [...path, index], findings);
  visitDuplicates(schema, value, path, findings);
}

function visitDuplicates(
  schema: Schema,
  value: readonly unknown[],
  path: ProblemPath,
  findings: Findings,
): void {
  const listType = schema["x-kubernetes-list-type"];
  if (listType !== "set" && listType !== "map") return;
  const keys = schema["x-kubernetes-list-map-keys"] ?? [];
  const seen = new Map<string, number>();
  for (const [index, item] of value.entries()) {
    const parts =
      listType === "set" ? [item] : keys.map((key) => (isRecord(item) ? item[key] : undefined));
    if (parts.some((part) => typeof part === "object" || part === undefined)) continue;
    const identity = JSON.stringify(parts);
    const first = seen.get(identity);
    if (first === undefined) seen.set(identity, index);
    else findings.add([...path, index], `repeats item ${first} (${quote(parts.at(-1))})`);
  }
}

function visitString(schema: Schema, value: string, path: ProblemPath, findings: Findings): void {
  const { maxLength, minLength, pattern } = schema;
  if (maxLength !== undefined && longerThan(value, maxLength)) {
    findings.block(path, `is longer than ${maxLength} characters`);
    return;
  }
  if (minLength !== undefined && value.length < minLength) {
    findings.add(
      path,
      value === "" ? "must not be empty" : `must have at least ${minLength} characters`,
    );
    return;
  }
  if (schema.enum !== undefined && !schema.enum.includes(value)) {
    findings.add(path, `is ${quote(value)}; it must be one of ${schema.enum.join(", ")}`);
  }
  if (pattern !== undefined && !new RegExp(pattern).test(value))
    findings.add(path, describeForm(path, value, pattern));
  if (schema.format === "date-time" && !isDateTime(value)) {
    findings.add(path, `${quote(value)} is no RFC 3339 time, for example 2026-11-20T10:00:00Z`);
  }
}

/** Like the API server, counts characters, not UTF-16 units; the cheap comparison settles nearly all. */
function longerThan(value: string, limit: number): boolean {
  if (value.length <= limit) return false;
  return value.length > 2 * limit || Array.from(value).length > limit;
}

function visitInteger(schema: Schema, value: number, path: ProblemPath, findings: Findings): void {
  if (schema.minimum !== undefined && value < schema.minimum)
    findings.add(path, `is ${value}; the smallest value is ${schema.minimum}`);
  if (schema.maximum !== undefined && value > schema.maximum)
    findings.add(path, `is ${value}; the largest value is ${schema.maximum}`);
}

function isInteger(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value);
}

function isDateTime(value: string): boolean {
  return (
    /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$/.test(value) &&
    !Number.isNaN(Date.parse(value))
  );
}
