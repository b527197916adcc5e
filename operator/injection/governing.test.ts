import assert from "node:assert/strict";
import { test } from "node:test";
import { crdSchemas } from "../../crds/schemas.gen.ts";
import type { Schema } from "../../crds/schema.ts";
import { secretReferences } from "./governing.ts";

function references(schema: Schema, path: readonly string[]): readonly string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, child]) =>
    /secretRef$/i.test(name) ? [[...path, name].join(".")] : references(child, [...path, name]),
  );
}

test("an author is asked about every Secret that a Connection can name", () => {
  const all = references(crdSchemas.Connection, []);
  assert.ok(all.length >= 7);
  assert.deepEqual(all.toSorted(), secretReferences.toSorted());
});
