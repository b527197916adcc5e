import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { catalogNamesOf, generatedFile } from "./catalog-names.ts";
import { startPostgres } from "./postgres-server.ts";

test("policy/sql/catalog-names.gen.ts is what this PostgreSQL's catalog says; rewrite it with node test/integration/generate-catalog-names.ts", async () => {
  const server = await startPostgres();
  try {
    assert.equal(await readFile(generatedFile, "utf8"), await catalogNamesOf(server.superuserUrl));
  } finally {
    await server.stop();
  }
});
