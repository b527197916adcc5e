// What the other tests of clients rest on: a play on a stage is a process of its own, and what goes wrong there is told.
import assert from "node:assert/strict";
import { mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { playScript, reasonWithoutPython } from "./python.ts";
import { openStage } from "./stage.ts";
import { skipped } from "./toolchains.ts";

const options = skipped(reasonWithoutPython());
let folder: string;

before(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), "chaperone-stage-")));
});

after(() => rm(folder, { recursive: true }));

async function script(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

test(
  "a play finds its own arguments, environment and folder, and nothing of the play before",
  options,
  async () => {
    const told = await script(
      "told.py",
      "import json, os, sys\nbefore = getattr(json, 'left', None)\njson.left = 1\nprint([sys.argv[1:], dict(os.environ) | {'PYTHONPATH': ''}, os.getcwd(), before])\n",
    );
    for (const name of ["one", "two"]) {
      const play = { script: told, args: [name], cwd: folder, env: { NAME: name } };
      assert.deepEqual(await playScript(folder, play), {
        code: 0,
        stdout: `[['${name}'], {'NAME': '${name}', 'PYTHONPATH': ''}, '${folder}', None]\n`,
        stderr: "",
      });
    }
  },
);

test("a play that fails ends with its status and tells why", options, async () => {
  const play = { args: [], cwd: folder, env: {} };
  const raising = await script("raising.py", "print('begun')\nraise ValueError('why')\n");
  const { code, stdout, stderr } = await playScript(folder, { ...play, script: raising });
  assert.deepEqual([code, stdout], [1, "begun\n"]);
  assert.match(stderr, /ValueError: why/);
  const leaving = await script("leaving.py", "import sys\nsys.exit(7)\n");
  assert.equal((await playScript(folder, { ...play, script: leaving })).code, 7);
  const missing = await script("missing.py", "import no_such_module\n");
  assert.match((await playScript(folder, { ...play, script: missing })).stderr, /no_such_module/);
});

test("plays at a time end in their own order", options, async () => {
  const slow = await script(
    "slow.py",
    "import os, sys, time\nwhile not os.path.exists('go'): time.sleep(0.01)\nprint('slow')\n",
  );
  const quick = await script("quick.py", "open('go', 'w').close()\nprint('quick')\n");
  const play = { args: [], cwd: folder, env: {} };
  const [first, second] = await Promise.all(
    [slow, quick].map((path) => playScript(folder, { ...play, script: path })),
  );
  assert.deepEqual([first?.stdout, second?.stdout], ["slow\n", "quick\n"]);
});

test("a stage that ends fails the play that waits, and every later one", async () => {
  const stage = openStage(process.execPath, [
    "-e",
    "process.stdin.once('data', () => process.exit(3))",
  ]);
  await assert.rejects(stage.ask("anything"), /ended before the play/);
  await assert.rejects(stage.ask("more"), /ended before the play/);
  await assert.rejects(openStage(join(folder, "nothing"), []).ask("anything"), /ENOENT/);
});
