import assert from "node:assert/strict";
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { setTimeout } from "node:timers/promises";

import { chainIn, unchainIn } from "./conf-directory.ts";

const list = `{ "name": "pods", "plugins": [ { "type": "ptp" } ] }\n`;
const single = `{ "cniVersion": "0.4.0", "name": "pods", "type": "bridge" }\n`;

function folder(t: TestContext, files: Readonly<Record<string, string>>) {
  const directory = mkdtempSync(join(tmpdir(), "chaperone-cni-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  return {
    directory,
    read: (name: string) => readFileSync(join(directory, name), "utf8"),
    write: (name: string, text: string) => writeFileSync(join(directory, name), text),
    all: () =>
      Object.fromEntries(
        readdirSync(directory).map((name) => [name, readFileSync(join(directory, name), "utf8")]),
      ),
  };
}

const typesIn = (text: string): unknown[] =>
  (JSON.parse(text) as { plugins: { type: string }[] }).plugins.map(({ type }) => type);

test("the list that the runtime takes, the first by name, gets our plugin; removal restores the folder byte for byte", async (t) => {
  const files = { "10-pods.conflist": list, "87-podman.conflist": list, README: "x" };
  const { directory, read, all } = folder(t, files);
  chmodSync(join(directory, "10-pods.conflist"), 0o600);
  assert.deepEqual(await chainIn({ directory }), { file: "10-pods.conflist", isNew: true });
  assert.deepEqual(typesIn(read("10-pods.conflist")), ["ptp", "chaperone"]);
  assert.equal(read("87-podman.conflist"), list);
  assert.equal(statSync(join(directory, "10-pods.conflist")).mode & 0o777, 0o600);
  assert.deepEqual(await chainIn({ directory }), { file: "10-pods.conflist", isNew: false });
  assert.deepEqual(await unchainIn(directory), ["10-pods.conflist"]);
  assert.deepEqual(all(), files);
});

test("a tool that writes its list anew without our plugin gets it back in the new one, which removal restores", async (t) => {
  const { directory, read, write, all } = folder(t, { "10-pods.conflist": list });
  await chainIn({ directory });
  const newer = list.replace("ptp", "calico");
  write("10-pods.conflist", newer);
  assert.equal((await chainIn({ directory })).isNew, true);
  assert.deepEqual(typesIn(read("10-pods.conflist")), ["calico", "chaperone"]);
  write("05-cilium.conflist", list.replace("ptp", "cilium-cni"));
  assert.equal((await chainIn({ directory })).file, "05-cilium.conflist");
  await unchainIn(directory);
  assert.deepEqual(all(), {
    "05-cilium.conflist": list.replace("ptp", "cilium-cni"),
    "10-pods.conflist": newer,
  });
});

test("where the runtime takes the configuration of one plugin, a list of ours comes before it, follows it, and goes with it", async (t) => {
  const { directory, read, write, all } = folder(t, { "10-pods.conf": single });
  const chained = await chainIn({ directory });
  assert.deepEqual(chained, { file: "10-pods-chaperone.conflist", isNew: true });
  assert.equal(readdirSync(directory).toSorted()[0], "10-pods-chaperone.conflist");
  assert.deepEqual(typesIn(read(chained.file)), ["bridge", "chaperone"]);
  assert.equal(read("10-pods.conf"), single);
  write("10-pods.conf", single.replace("bridge", "macvlan"));
  await chainIn({ directory });
  assert.deepEqual(typesIn(read(chained.file)), ["macvlan", "chaperone"]);
  rmSync(join(directory, "10-pods.conf"));
  await assert.rejects(chainIn({ directory }), /the node's own network has to be installed first/);
  assert.deepEqual(all(), {});
});

test("a list that cannot be chained stays as it is, and why is said", async (t) => {
  for (const text of ["", "{", '{"plugins":[]}', "[]"]) {
    const { directory, read } = folder(t, { "10-pods.conflist": text });
    await assert.rejects(
      chainIn({ directory }),
      /10-pods.conflist of the CNI folder is left as it is/,
    );
    assert.equal(read("10-pods.conflist"), text);
    assert.deepEqual(await unchainIn(directory), []);
  }
});

test("a list is chosen by name where the installation names it", async (t) => {
  const { directory, read } = folder(t, { "10-pods.conflist": list, "20-own.conflist": list });
  await chainIn({ directory, file: "20-own.conflist" });
  assert.equal(read("10-pods.conflist"), list);
  assert.deepEqual(typesIn(read("20-own.conflist")), ["ptp", "chaperone"]);
  await assert.rejects(
    chainIn({ directory, file: "30-none.conflist" }),
    /has no 30-none.conflist yet/,
  );
});

test("what somebody writes while the agent works is never replaced by what stood there before", async (t) => {
  const { directory, read } = folder(t, { "10-pods.conflist": list });
  const versions = 300;
  const writing = (async () => {
    for (let version = 1; version <= versions; version += 1) {
      const fresh = join(directory, "fresh");
      writeFileSync(fresh, list.replace("ptp", `ptp-${version}`));
      renameSync(fresh, join(directory, "10-pods.conflist"));
      // Some rounds of the agent see it, others are in the middle.
      await setTimeout(version % 3);
    }
  })();
  let isOver = false;
  void writing.then(() => (isOver = true));
  while (!isOver) await chainIn({ directory }).catch(() => undefined);
  await chainIn({ directory });
  assert.deepEqual(typesIn(read("10-pods.conflist")), [`ptp-${versions}`, "chaperone"]);
});
