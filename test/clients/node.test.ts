// Node's drivers and Drizzle, each unmodified and over verified TLS: scene by scene the same as straight from the server.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { npmPackages } from "./cache.ts";
import { nodeDrivers } from "./drivers.ts";
import { playNode } from "./node.ts";
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
  packages = await npmPackages(nodeDrivers);
  room = await openRoom();
});

after(async () => {
  await room?.close();
});

for (const [script, scenes] of [
  ["pg_scenes.mjs", 12],
  ["postgres_scenes.mjs", 11],
  ["drizzle_scenes.mjs", 2],
] as const) {
  const client = script.replace("_scenes.mjs", "");
  test(`${client}: every scene ends as it does straight from the server`, async () => {
    const result = await sameBothWays(room, [...shop, ...notes], (way) =>
      playNode(script, packages, way),
    );
    assert.equal(scenesOf(result).length, scenes, "every scene was played");
  });

  test(`${client}: masked columns arrive masked, a denial is understood, and the connection goes on`, async () => {
    await setPolicyScene(room);
    assertPolicyScene(await playNode(script, packages, room.proxied, "policy"));
  });
}
