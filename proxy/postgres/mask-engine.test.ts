import assert from "node:assert/strict";
import { test } from "node:test";
import { createCatalogNames } from "../../policy/sql/catalog-names.ts";
import { loadSqlGrammar } from "../../policy/sql/grammar.ts";
import { bundleOf } from "../../test/integration/postgres-proxy-harness.ts";
import { createMaskEngine } from "./mask-engine.ts";

const masked = () =>
  bundleOf([], {
    columnMasks: [
      {
        column: "public.customers.ssn",
        transform: { kind: "partial", keepFirst: 0, keepLast: 4 },
        policy: "agents/p",
      },
    ],
  });

test("sessions share what is compiled for the masks of a bundle and a catalog, and nothing with others of either", async () => {
  const engine = createMaskEngine(await loadSqlGrammar(), createCatalogNames());
  const bundle = masked();
  const catalog = engine.catalog(engine.catalogQueries.map(() => []));
  const other = engine.catalog(engine.catalogQueries.map(() => []));
  const compiled = engine.masking(bundle, catalog);
  assert.equal(engine.masking(bundle, catalog), compiled);
  // As a session gives it whose marks change its detectors.
  assert.equal(engine.masking({ ...bundle, detectMasks: bundle.detectMasks }, catalog), compiled);
  const detectMasks = [...bundle.detectMasks];
  assert.notEqual(engine.masking({ ...bundle, detectMasks }, catalog), compiled);
  assert.notEqual(engine.masking(bundle, other), compiled);
  assert.notEqual(engine.masking(masked(), catalog), compiled);
});
