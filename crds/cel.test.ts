import assert from "node:assert/strict";
import { test } from "node:test";
import { celCases } from "./cel-cases.ts";
import { CelRules } from "./cel.ts";
import { formatPath } from "./problem.ts";
import type { CrdKind, Schema } from "./schema.ts";
import { crdSchemas } from "./schemas.gen.ts";
import { applyDefaults, createValidator } from "./validate.ts";

const validator = createValidator();

for (const { kind, path, message, good, bad, isUpdate } of celCases) {
  test(`${kind} ${path}: the rule "${message.slice(0, 60)}" accepts its good object`, () => {
    assert.deepEqual(
      validator
        .validate(kind, good, isUpdate ? good : undefined)
        .filter(({ stage }) => stage !== "semantic"),
      [],
    );
  });
  test(`${kind} ${path}: the rule "${message.slice(0, 60)}" refuses its bad object in its own words`, () => {
    const found = validator.validate(kind, bad, isUpdate ? good : undefined);
    assert.deepEqual(
      found.filter(({ stage }) => stage === "structural"),
      [],
    );
    const said = found
      .filter(({ stage }) => stage === "cel")
      .map((problem) => `${formatPath(problem.path)}: ${problem.message}`);
    assert.ok(
      said.some((text) => text.startsWith(`${path}: ${message}`)),
      said.join("\n"),
    );
  });
}

test("every CEL rule of every CRD is broken by some bad object of the table", () => {
  const rules = new Set(
    Object.entries(crdSchemas).flatMap(([kind, schema]) =>
      rulesOf(schema).map((message) => `${kind}: ${message}`),
    ),
  );
  for (const { kind, bad, good, isUpdate } of celCases) {
    for (const [expression, message] of brokenRules(kind, bad, isUpdate ? good : undefined))
      rules.delete(`${kind}: ${expression}${message}`);
  }
  assert.deepEqual([...rules], []);
});

test("a rule about a change says nothing when the object is new", () => {
  const { kind, bad } = celCases.find(({ isUpdate }) => isUpdate) ?? assert.fail("no update case");
  assert.deepEqual(validator.validate(kind, bad), []);
});

function rulesOf(schema: Schema): readonly string[] {
  const own = (schema["x-kubernetes-validations"] ?? []).map(
    ({ rule, message }) => `${rule}${message}`,
  );
  const below = [
    ...Object.values(schema.properties ?? {}),
    ...(schema.items ? [schema.items] : []),
    ...(schema.additionalProperties ? [schema.additionalProperties] : []),
  ];
  return [...own, ...below.flatMap(rulesOf)];
}

/** The messages cannot name the rule where they are computed, so each rule is put back as its own message. */
function brokenRules(
  kind: CrdKind,
  object: unknown,
  old: unknown,
): readonly (readonly [string, string])[] {
  return new CelRules()
    .evaluate(named(crdSchemas[kind]), applyDefaults(kind, object), old, {
      problems: [],
      unsound: [],
    })
    .map(({ message }) => {
      const [rule = "", text = ""] = message.split("\u0000");
      return [rule, text] as const;
    });
}

function named(schema: Schema): Schema {
  const { properties, items, additionalProperties } = schema;
  const rules = schema["x-kubernetes-validations"]?.map(({ rule, message, fieldPath }) => ({
    rule,
    message: `${rule}\u0000${message}`,
    ...(fieldPath !== undefined && { fieldPath }),
  }));
  return {
    ...schema,
    ...(rules && { "x-kubernetes-validations": rules }),
    ...(properties && {
      properties: Object.fromEntries(
        Object.entries(properties).map(([name, child]) => [name, named(child)]),
      ),
    }),
    ...(items && { items: named(items) }),
    ...(additionalProperties && { additionalProperties: named(additionalProperties) }),
  };
}
