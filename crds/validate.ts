// The one validation of our objects: the admission webhook, `chaperone check` and local mode all call this and nothing else.
import { CelRules } from "./cel.ts";
import { isRecord, withDefaults } from "./defaults.ts";
import { metadataProblems } from "./metadata.ts";
import { capProblems } from "./problem.ts";
import type { Problem } from "./problem.ts";
import { clusterKinds, crdApiVersion } from "./schema.ts";
import type { CrdKind } from "./schema.ts";
import { crdSchemas } from "./schemas.gen.ts";
import { semanticProblems } from "./semantic.ts";
import { readStructure } from "./structural.ts";

export type { Problem, ProblemStage } from "./problem.ts";

/** Keep one for many objects: it holds the compiled CEL rules. */
export interface Validator {
  /** Every problem, or none. `old` is the stored object on an update. Defaults are applied first; the object is not changed. */
  validate(kind: CrdKind, object: unknown, old?: unknown): readonly Problem[];
}

export function createValidator(): Validator {
  const rules = new CelRules();
  return { validate: (kind, object, old) => validateWith(rules, kind, object, old) };
}

/** For one object. */
export function validateObject(kind: CrdKind, object: unknown, old?: unknown): readonly Problem[] {
  return createValidator().validate(kind, object, old);
}

/** The object with the defaults of its CRD filled in, as a read from the API server would give it. */
export function applyDefaults(kind: CrdKind, object: unknown): unknown {
  return withDefaults(crdSchemas[kind], object);
}

/** Each stage needs the one before: CEL sound types and sizes, the semantic checks a sound structure. All problems of a stage come at once. */
function validateWith(
  rules: CelRules,
  kind: CrdKind,
  object: unknown,
  old: unknown,
): readonly Problem[] {
  const value = applyDefaults(kind, object);
  const structure = readStructure(crdSchemas[kind], value);
  const problems = [...headProblems(kind, value), ...structure.problems];
  const stored = old === undefined ? undefined : applyDefaults(kind, old);
  problems.push(...rules.evaluate(crdSchemas[kind], value, stored, structure));
  if (structure.problems.length === 0) problems.push(...semanticProblems(kind, value));
  return capProblems(problems);
}

function headProblems(kind: CrdKind, value: unknown): readonly Problem[] {
  if (!isRecord(value)) return [];
  const problems: Problem[] = [];
  if (value["apiVersion"] !== crdApiVersion)
    problems.push({
      path: ["apiVersion"],
      message: `must be ${crdApiVersion}`,
      stage: "structural",
    });
  if (value["kind"] !== kind)
    problems.push({ path: ["kind"], message: `must be ${kind}`, stage: "structural" });
  return [...problems, ...metadataProblems(value["metadata"], !clusterKinds.has(kind))];
}
