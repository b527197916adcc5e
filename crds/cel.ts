// The second stage: the CRDs' own CEL rules (`x-kubernetes-validations`), evaluated as the API server does, with its messages.
// The rules keep to what cel-go and this library read alike; cel-cases.ts holds the table that is run against both.
import { Environment } from "@marcbachmann/cel-js";
import type { ParseResult } from "@marcbachmann/cel-js";
import { isRecord } from "./defaults.ts";
import type { Problem, ProblemPath } from "./problem.ts";
import type { CelRule, Schema } from "./schema.ts";
import type { StructuralReading } from "./structural.ts";

/** Programs are kept by their text: the CRDs hold a fixed number of them, so this cannot grow past that. */
export class CelRules {
  readonly #environment = new Environment({ unlistedVariablesAreDyn: false })
    .registerVariable("self", "dyn")
    .registerVariable("oldSelf", "dyn");
  readonly #programs = new Map<string, ParseResult>();

  /**
   * `old` is the stored object on an update; rules about `oldSelf` are left out without it. Rules of nodes that hold an
   * unsound part are left out; the API server then leaves out all of them, but these errors are true all the same.
   */
  evaluate(
    schema: Schema,
    value: unknown,
    old: unknown,
    structure: StructuralReading,
  ): readonly Problem[] {
    const walk: Walk = { problems: [], structure };
    this.#visit(schema, value, old, [], walk);
    return walk.problems;
  }

  #visit(schema: Schema, value: unknown, old: unknown, path: ProblemPath, walk: Walk): void {
    const rules = walk.structure.unsound.some((place) => isBelow(place, path))
      ? []
      : (schema["x-kubernetes-validations"] ?? []);
    for (const rule of rules) {
      const problem = this.#apply(rule, schema, value, old, path, walk);
      if (problem !== undefined) walk.problems.push(problem);
    }
    if (Array.isArray(value) && schema.items !== undefined) {
      for (const [index, item] of value.entries())
        this.#visit(schema.items, item, undefined, [...path, index], walk);
      return;
    }
    if (!isRecord(value)) return;
    for (const [name, child] of Object.entries(value)) {
      const childSchema = fieldSchema(schema, name);
      const oldChild = isRecord(old) && Object.hasOwn(old, name) ? old[name] : undefined;
      if (childSchema !== undefined)
        this.#visit(childSchema, child, oldChild, [...path, name], walk);
    }
  }

  #apply(
    rule: CelRule,
    schema: Schema,
    value: unknown,
    old: unknown,
    path: ProblemPath,
    walk: Walk,
  ): Problem | undefined {
    const isTransition = /\boldSelf\b/.test(rule.rule);
    if (isTransition && old === undefined) return undefined;
    const scope = {
      self: toCel(schema, value),
      ...(isTransition && { oldSelf: toCel(schema, old) }),
    };
    const at = [...path, ...(rule.fieldPath?.split(".").slice(1) ?? [])];
    try {
      if (this.#program(rule.rule)(scope) === true) return undefined;
    } catch (error) {
      // A text of the wrong form has been named already; that a rule cannot read it is no second error.
      if (walk.structure.problems.some((problem) => isBelow(problem.path, path))) return undefined;
      return {
        path: at,
        message: `${rule.message} (${error instanceof Error ? firstLine(error.message) : "not evaluated"})`,
        stage: "cel",
      };
    }
    return { path: at, message: this.#message(rule, scope), stage: "cel" };
  }

  #message(rule: CelRule, scope: Readonly<Record<string, unknown>>): string {
    if (rule.messageExpression === undefined) return rule.message;
    try {
      const message: unknown = this.#program(rule.messageExpression)(scope);
      return typeof message === "string" && message !== "" ? message : rule.message;
    } catch {
      return rule.message;
    }
  }

  #program(source: string): ParseResult {
    let program = this.#programs.get(source);
    if (program === undefined)
      this.#programs.set(source, (program = this.#environment.parse(source)));
    return program;
  }
}

interface Walk {
  readonly problems: Problem[];
  readonly structure: StructuralReading;
}

function isBelow(place: ProblemPath, path: ProblemPath): boolean {
  return path.every((part, index) => part === place[index]);
}

function fieldSchema(schema: Schema, name: string): Schema | undefined {
  if (schema.properties !== undefined && Object.hasOwn(schema.properties, name))
    return schema.properties[name];
  return schema.additionalProperties;
}

/** JSON to CEL values by the schema: whole numbers become ints; a field without a schema does not exist for a rule. */
function toCel(schema: Schema, value: unknown): unknown {
  if (typeof value === "number") return Number.isSafeInteger(value) ? BigInt(value) : value;
  if (Array.isArray(value))
    return value.map((item: unknown) =>
      schema.items === undefined ? item : toCel(schema.items, item),
    );
  if (!isRecord(value)) return value;
  const fields = new Map<string, unknown>();
  for (const [name, child] of Object.entries(value)) {
    const childSchema = fieldSchema(schema, name);
    if (childSchema !== undefined) fields.set(name, toCel(childSchema, child));
  }
  return fields;
}

function firstLine(text: string): string {
  return text.split("\n")[0] ?? text;
}
