// Python's drivers and what is built on them, each unmodified and over verified TLS: scene by scene the same as straight from the server.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { pythonDrivers } from "./drivers.ts";
import { pythonPackages, runPython } from "./python.ts";
import {
  assertPolicyScene,
  notes,
  openRoom,
  sameBothWays,
  scenesOf,
  setPolicyScene,
  type ClientRoom,
} from "./room.ts";
import { shop } from "./shop.ts";

let packages: string;
let room: ClientRoom;

before(async () => {
  packages = await pythonPackages(pythonDrivers);
  room = await openRoom();
});

after(async () => {
  await room?.close();
});

for (const [script, scenes] of [
  ["psycopg2_scenes.py", 14],
  ["asyncpg_scenes.py", 12],
  ["pg8000_scenes.py", 9],
  ["sqlalchemy_scenes.py", 4],
  ["langchain_scenes.py", 5],
] as const) {
  const client = script.replace("_scenes.py", "");
  test(`${client}: every scene ends as it does straight from the server`, async () => {
    const result = await sameBothWays(room, [...shop, ...notes], (way) =>
      runPython(script, [JSON.stringify(way)], packages),
    );
    assert.ok(scenesOf(result).length >= scenes, "every scene was played");
  });

  test(`${client}: masked columns arrive masked, a denial is understood, and the connection goes on`, async () => {
    await setPolicyScene(room);
    const seen = await runPython(script, [JSON.stringify(room.proxied), "policy"], packages);
    assertPolicyScene(seen);
  });
}
