// pgx v5, unmodified and over verified TLS: scene by scene the same as straight from the server.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { goProgram } from "./cache.ts";
import {
  assertPolicyScene,
  notes,
  openRoom,
  sameBothWays,
  scenesOf,
  setPolicyScene,
  type ClientRoom,
  type Way,
} from "./room.ts";
import { shop } from "./shop.ts";
import { reasonWithoutGo, skipped } from "./toolchains.ts";

const run = promisify(execFile);
const scriptTimeoutMs = 120_000;
const options = skipped(reasonWithoutGo());

let program: string;
let room: ClientRoom | undefined;

before(async () => {
  if (options.skip !== false) return;
  program = await goProgram("pgx");
  room = await openRoom();
});

after(async () => {
  await room?.close();
});

async function playGo(way: Way, ...scenes: readonly string[]): Promise<unknown> {
  const { stdout } = await run(program, [JSON.stringify(way), ...scenes], {
    timeout: scriptTimeoutMs,
  });
  return JSON.parse(stdout) as unknown;
}

test("pgx: every scene ends as it does straight from the server", options, async () => {
  assert.ok(room !== undefined);
  const result = await sameBothWays(room, [...shop, ...notes], (way) => playGo(way));
  assert.equal(scenesOf(result).length, 10, "every scene was played");
});

test(
  "pgx: masked columns arrive masked in every mode, a denial is understood, and the connection goes on",
  options,
  async () => {
    assert.ok(room !== undefined);
    await setPolicyScene(room);
    assertPolicyScene(await playGo(room.proxied, "policy"));
  },
);
