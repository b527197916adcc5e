import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import type { Crd } from "./generate-crds.ts";
import { readCrds } from "./generate-crds.ts";
import { generateCliDoc } from "./generate-cli-doc.ts";
import { generateResourcesDoc } from "./generate-resources-doc.ts";

test("every command of the contract has a section with usage, options and an example", () => {
  const page = generateCliDoc();
  const sections = new Map(
    page
      .split("\n## ")
      .slice(1)
      .map((text) => [text.split("\n")[0], text] as const),
  );
  assert.deepEqual(
    [...sections.keys()],
    [
      "chaperone dev",
      "chaperone run",
      "chaperone check",
      "chaperone explain",
      "chaperone sessions list",
      "chaperone sessions show",
      "chaperone sessions replay",
      "chaperone events",
      "chaperone audit verify",
      "chaperone requests list",
      "chaperone approve",
      "chaperone deny",
      "chaperone budgets",
      "chaperone pods",
      "chaperone quarantine add",
      "chaperone quarantine list",
      "chaperone quarantine lift",
    ],
  );
  for (const [name, text] of sections) {
    const [usage, example] = [...text.matchAll(/```sh\n(.*)\n```/g)].map((match) => match[1] ?? "");
    assert.ok(usage?.startsWith(`${name} [options]`), `${name}: ${usage}`);
    assert.ok(example?.startsWith(`${name} `) || example === name, `${name}: ${example}`);
  }
  assert.match(sections.get("chaperone deny") ?? "", /\| `--reason <text>` \| required \|/);
});

test("every field and every CEL rule of the resources stands on the page", async () => {
  const crds = await readCrds(join(import.meta.dirname, "../crds"));
  const page = generateResourcesDoc(crds);
  for (const { schema } of crds) {
    const text = JSON.stringify(schema);
    const messages = [...text.matchAll(/"message":("(?:[^"\\]|\\.)*")/g)].map(
      (match) => JSON.parse(match[1] ?? '""') as string,
    );
    for (const message of messages) assert.ok(page.includes(message), message);
  }
  assert.match(
    page,
    /\| `spec\.rules\[\]\.approval\.count` \| integer \(1-10\) \| `1` \| How many different people must approve\. \|/,
  );
  assert.match(
    page,
    /\| `spec\.targetRefs` \\\* \| list \(1-16\) of objects keyed by group, kind, name \|/,
  );
});

test("a pattern with a bar does not break its table", () => {
  const crd: Crd = {
    kind: "Connection",
    file: "connection.yaml",
    schema: {
      properties: {
        spec: { type: "object", properties: { a: { type: "string", pattern: "x|y" } } },
      },
    },
  };
  assert.match(generateResourcesDoc([crd]), /\| `spec\.a` \| string matching `x\\\|y` \|/);
});
