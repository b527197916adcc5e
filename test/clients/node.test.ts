// Node's drivers and Drizzle, each unmodified and over verified TLS: scene by scene the same as straight from the server.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { npmPackages } from "./cache.ts";
import { nodeDrivers } from "./drivers.ts";
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

const run = promisify(execFile);
const scriptTimeoutMs = 120_000;

let packages: string;
let room: ClientRoom;

before(async () => {
  packages = await npmPackages(nodeDrivers);
  room = await openRoom();
});

after(async () => {
  await room?.close();
});

async function playNode(script: string, way: Way, ...scenes: readonly string[]): Promise<unknown> {
  const { stdout } = await run(
    process.execPath,
    [join(import.meta.dirname, script), JSON.stringify(way), packages, ...scenes],
    { timeout: scriptTimeoutMs },
  );
  return JSON.parse(stdout) as unknown;
}

for (const [script, scenes] of [
  ["pg_scenes.mjs", 12],
  ["postgres_scenes.mjs", 11],
  ["drizzle_scenes.mjs", 2],
] as const) {
  const client = script.replace("_scenes.mjs", "");
  test(`${client}: every scene ends as it does straight from the server`, async () => {
    const result = await sameBothWays(room, [...shop, ...notes], (way) => playNode(script, way));
    assert.equal(scenesOf(result).length, scenes, "every scene was played");
  });

  test(`${client}: masked columns arrive masked, a denial is understood, and the connection goes on`, async () => {
    await setPolicyScene(room);
    assertPolicyScene(await playNode(script, room.proxied, "policy"));
  });
}
