import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { appendFile, cp, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { readCrds } from "./generate-crds.ts";
import type { Crd } from "./generate-crds.ts";
import { generateTypes } from "./generate-types.ts";

const root = join(import.meta.dirname, "..");

function check(directory: string): Promise<{ readonly code: number; readonly stderr: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [join(directory, "scripts/generate.ts"), "--check"],
      { timeout: 60_000 },
      (error, _stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code ?? -1), stderr }),
    );
  });
}

test("the committed generated files are what the generator writes", async () => {
  assert.deepEqual(await check(root), { code: 0, stderr: "" });
});

test("a CRD that changed without its generated files fails the check", async () => {
  const copy = await mkdtemp(join(tmpdir(), "chaperone-generate-"));
  try {
    for (const folder of ["contract", "crds", "scripts", "policy", "cli", "docs", "charts"])
      await cp(join(root, folder), join(copy, folder), { recursive: true });
    await cp(join(root, "package.json"), join(copy, "package.json"));
    await symlink(join(root, "node_modules"), join(copy, "node_modules"));
    assert.equal((await check(copy)).code, 0);
    await appendFile(join(copy, "crds/types.gen.ts"), "export type Extra = never;\n");
    const { code, stderr } = await check(copy);
    assert.equal(code, 1);
    assert.match(stderr, /crds\/types.gen.ts is out of date: run node scripts\/generate.ts/);
  } finally {
    await rm(copy, { recursive: true });
  }
});

test("types leave out what the CRD names only to refuse it, and require what has a default", async () => {
  const types = generateTypes(await readCrds(join(root, "crds")));
  assert.match(types, /readonly protocol: "postgres" \| "http" \| "openai" \| "passthrough"[^;]*;/);
  assert.match(types, /readonly mode: "Enforce" \| "Observe";/);
  assert.doesNotMatch(types, /sshCertificate|subjectsGroups|aggregate/);
});

test("two different nodes under one title are an error", () => {
  const crd = (kind: Crd["kind"], field: string): Crd => ({
    kind,
    file: `${kind}.yaml`,
    schema: {
      type: "object",
      properties: {
        spec: { type: "object", title: "Spec", properties: { [field]: { type: "string" } } },
        status: { type: "object", properties: {} },
      },
    },
  });
  assert.throws(
    () => generateTypes([crd("Connection", "a"), crd("Quarantine", "b")]),
    /two different schema nodes carry the title Spec/,
  );
});
