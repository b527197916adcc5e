// What the API server asks of every object's metadata, as far as people write it.
import { isRecord } from "./defaults.ts";
import { nameType, quote } from "./messages.ts";
import type { Problem } from "./problem.ts";

/** RFC 1123 subdomain and label, the limits of Kubernetes names. */
const maxNameLength = 253;
const maxNamespaceLength = 63;

/** @param isNamespaced whether objects of the kind belong to a namespace */
export function metadataProblems(metadata: unknown, isNamespaced = true): readonly Problem[] {
  // Of the wrong type: the structural stage has said so.
  if (!isRecord(metadata)) return metadata === undefined ? [problem([], "is required")] : [];
  const { name, generateName, namespace } = metadata;
  return [
    ...(name === undefined && typeof generateName === "string"
      ? []
      : nameProblems("name", name, maxNameLength, /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/)),
    ...(namespace === undefined ? [] : namespaceProblems(namespace, isNamespaced)),
    ...textMapProblems("labels", metadata["labels"]),
    ...textMapProblems("annotations", metadata["annotations"]),
  ];
}

function namespaceProblems(namespace: unknown, isNamespaced: boolean): readonly Problem[] {
  if (!isNamespaced)
    return [problem(["namespace"], "the kind belongs to no namespace: remove metadata.namespace")];
  return nameProblems(
    "namespace",
    namespace,
    maxNamespaceLength,
    /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/,
  );
}

function nameProblems(
  field: string,
  value: unknown,
  maxLength: number,
  form: RegExp,
): readonly Problem[] {
  if (value === undefined) return [problem([field], "is required")];
  if (typeof value !== "string") return [problem([field], `must be text, not ${nameType(value)}`)];
  if (value.length <= maxLength && form.test(value)) return [];
  return [
    problem(
      [field],
      `${quote(value)} is no valid name: lower case letters, digits and - only, at most ${maxLength} characters`,
    ),
  ];
}

function textMapProblems(field: string, value: unknown): readonly Problem[] {
  if (value === undefined || value === null) return [];
  if (!isRecord(value)) return [problem([field], `must be an object, not ${nameType(value)}`)];
  return Object.entries(value).flatMap(([key, text]) =>
    typeof text === "string"
      ? []
      : [problem([field, key], `must be text, not ${nameType(text)}: write it in quotes`)],
  );
}

function problem(path: readonly string[], message: string): Problem {
  return { path: ["metadata", ...path], message, stage: "structural" };
}
