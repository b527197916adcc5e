// pgjdbc, unmodified and over verified TLS: scene by scene the same as straight from the server.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { pgjdbc, type Play } from "./compiled.ts";
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
import { reasonWithoutJava, skipped } from "./toolchains.ts";

const options = skipped(reasonWithoutJava());

let play: Play;
let room: ClientRoom | undefined;

before(async () => {
  if (options.skip !== false) return;
  play = await pgjdbc();
  room = await openRoom();
});

after(async () => {
  await room?.close();
});

test("pgjdbc: every scene ends as it does straight from the server", options, async () => {
  assert.ok(room !== undefined);
  const result = await sameBothWays(room, [...shop, ...notes], (way) => play(way));
  assert.equal(scenesOf(result).length, 11, "every scene was played");
});

test(
  "pgjdbc: masked columns arrive masked, a denial is understood, and the connection goes on",
  options,
  async () => {
    assert.ok(room !== undefined);
    await setPolicyScene(room);
    assertPolicyScene(await play(room.proxied, "policy"));
  },
);
