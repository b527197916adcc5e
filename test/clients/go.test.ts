// pgx v5, unmodified and over verified TLS: scene by scene the same as straight from the server.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { pgx, type Play } from "./compiled.ts";
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
import { reasonWithoutGo, skipped } from "./toolchains.ts";

const options = skipped(reasonWithoutGo());

let play: Play;
let room: ClientRoom | undefined;

before(async () => {
  if (options.skip !== false) return;
  play = await pgx();
  room = await openRoom();
});

after(async () => {
  await room?.close();
});

test("pgx: every scene ends as it does straight from the server", options, async () => {
  assert.ok(room !== undefined);
  const result = await sameBothWays(room, [...shop, ...notes], (way) => play(way));
  assert.equal(scenesOf(result).length, 10, "every scene was played");
});

test(
  "pgx: masked columns arrive masked in every mode, a denial is understood, and the connection goes on",
  options,
  async () => {
    assert.ok(room !== undefined);
    await setPolicyScene(room);
    assertPolicyScene(await play(room.proxied, "policy"));
  },
);
