import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { asPod, contextOf } from "./fixture.ts";
import { inject } from "./inject.ts";

/** `make golden` rewrites the files; what changed is then read in the diff. */
const isWriting = process.env["GOLDEN"] === "write";
const directory = path.join(import.meta.dirname, "golden");

const names = readdirSync(directory)
  .filter((name) => name.endsWith(".yaml"))
  .map((name) => name.slice(0, -".yaml".length));

test("there are golden pods", () => assert.ok(names.length >= 4));

for (const name of names) {
  test(`the pod ${name} is patched as its golden file says`, () => {
    const pod = asPod(parse(readFileSync(path.join(directory, `${name}.yaml`), "utf8")));
    const result = inject(pod, contextOf());
    const file = path.join(directory, `${name}.json`);
    if (isWriting) writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`);
    else
      assert.deepEqual(JSON.parse(JSON.stringify(result)), JSON.parse(readFileSync(file, "utf8")));
  });
}
