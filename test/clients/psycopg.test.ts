// psycopg 3, unmodified and over verified TLS, behind the proxy: the same results as straight from the server, and refusals it understands.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { pythonDrivers } from "./drivers.ts";
import { pythonPackages, runPython } from "./python.ts";
import {
  denialMessage,
  libpqUri,
  maskedRow,
  notes,
  openRoom,
  sameBothWays,
  scenesOf,
  setPolicyScene,
  type ClientRoom,
} from "./room.ts";

let packages: string;
let room: ClientRoom;

before(async () => {
  packages = await pythonPackages(pythonDrivers);
  room = await openRoom();
});

after(async () => {
  await room?.close();
});

test("every scene of an application ends as it does straight from the server", async () => {
  const result = await sameBothWays(room, notes, (way) =>
    runPython("psycopg_scenes.py", [libpqUri(way)], packages),
  );
  assert.ok(scenesOf(result).length > 15, "every scene was played");
});

test("masked columns arrive masked in every format, a denial is an InsufficientPrivilege, and the connection goes on", async () => {
  await setPolicyScene(room);
  const rows = Array.from({ length: 8 }, () => maskedRow);
  assert.deepEqual(await runPython("psycopg_policy.py", [libpqUri(room.proxied)], packages), {
    "masked, prepare=False, binary=False": rows,
    "masked, prepare=False, binary=True": rows,
    "masked, prepare=True, binary=False": rows,
    "masked, prepare=True, binary=True": rows,
    denied: ["InsufficientPrivilege", "42501", denialMessage],
    state: "INERROR",
    after: 2,
    "denied in a pipeline": "42501",
    "at the end": 2,
  });
});
