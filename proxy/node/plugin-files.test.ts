import assert from "node:assert/strict";
import {
  chmodSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { installPlugin, pluginScript, type Seen } from "./plugin-files.ts";

test("both files are put where the runtime looks, once, and put again when somebody takes or changes one", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "chaperone-plugin-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const busybox = join(folder, "source");
  writeFileSync(busybox, "a program");
  const directory = mkdtempSync(join(folder, "bin-"));
  const places = { directory, nodeDirectory: "/opt/cni/bin", nodeMailbox: "/run/x", busybox };
  const seen: Seen = { program: undefined };
  assert.equal(await installPlugin(places, seen), true);
  assert.deepEqual(readdirSync(directory).toSorted(), ["busybox-chaperone", "chaperone"]);
  for (const name of readdirSync(directory))
    assert.equal(statSync(join(directory, name)).mode & 0o777, 0o755);
  const [first] = readFileSync(join(directory, "chaperone"), "utf8").split("\n");
  assert.equal(first, "#!/opt/cni/bin/busybox-chaperone sh");
  assert.equal(await installPlugin(places, seen), false);
  for (const change of [
    () => rmSync(join(directory, "chaperone")),
    () => rmSync(join(directory, "busybox-chaperone")),
    () => writeFileSync(join(directory, "busybox-chaperone"), "another"),
    () => writeFileSync(join(directory, "chaperone"), "another"),
    () => chmodSync(join(directory, "chaperone"), 0o644),
    () => chmodSync(join(directory, "busybox-chaperone"), 0o644),
  ]) {
    change();
    assert.equal(await installPlugin(places, seen), true, String(change));
    assert.equal(await installPlugin(places, seen), false, String(change));
  }
  assert.equal(readFileSync(join(directory, "busybox-chaperone"), "utf8"), "a program");
});

test("a place that a script's first line or its words would not carry is refused", () => {
  for (const path of ["/opt/my bin", "opt/cni", "/opt/$(x)", `/${"x".repeat(100)}`, "/a;b"]) {
    assert.throws(
      () => pluginScript("", { nodeDirectory: path, nodeMailbox: "/run/x" }),
      /is not a path/,
    );
    assert.throws(
      () => pluginScript("", { nodeDirectory: "/opt", nodeMailbox: path }),
      /is not a path/,
    );
  }
});
