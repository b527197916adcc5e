// psycopg 3, pg, psql and pg_dump before every PostgreSQL from 14 on; 18 is what the other tests of this folder run against.
import assert from "node:assert/strict";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { npmPackages } from "./cache.ts";
import { nodeDrivers, pythonDrivers } from "./drivers.ts";
import { playNode } from "./node.ts";
import { installPrograms, runProgram, type Programs } from "./programs.ts";
import { playPsql } from "./psql-session.ts";
import { pythonPackages, runPython } from "./python.ts";
import { libpqUri, notes, openRoom, sameBothWays, scenesOf, type ClientRoom } from "./room.ts";
import { olderServer, olderServers } from "./servers.ts";
import { shop } from "./shop.ts";

let programs: Programs;
let python: string;
let node: string;
let folder: string;

before(async () => {
  programs = await installPrograms();
  python = await pythonPackages(pythonDrivers);
  node = await npmPackages(nodeDrivers);
  folder = await mkdtemp(join(tmpdir(), "chaperone-servers-"));
  await chmod(folder, 0o755);
});

after(async () => {
  await rm(folder, { recursive: true, force: true });
});

for (const major of olderServers.keys()) {
  describe(`PostgreSQL ${major}`, () => {
    let room: ClientRoom;

    before(async () => {
      room = await openRoom(await olderServer(major, folder));
      const [row] = await room.run("SHOW server_version_num");
      assert.ok(String(row?.["server_version_num"]).startsWith(String(major)));
    });

    after(async () => {
      await room?.close();
    });

    test("psycopg 3 plays every scene as straight from the server", async () => {
      const result = await sameBothWays(room, notes, (way) =>
        runPython("psycopg_scenes.py", [libpqUri(way)], python),
      );
      assert.ok(scenesOf(result).length > 15);
    });

    test("pg plays every scene as straight from the server", async () => {
      const result = await sameBothWays(room, [...shop, ...notes], (way) =>
        playNode("pg_scenes.mjs", node, way),
      );
      assert.equal(scenesOf(result).length, 12);
    });

    test("psql shows the same as straight from the server", async () => {
      const result = await sameBothWays(room, [...shop, ...notes], (way) =>
        playPsql(programs, room, way),
      );
      assert.ok(scenesOf(result).includes("stdout"));
    });

    test("pg_dump dumps the same as straight from the server", async () => {
      const result = await sameBothWays(room, shop, (way) =>
        runProgram(programs, way, "pg_dump", ["--restrict-key=key"]),
      );
      assert.ok(typeof result === "object" && result !== null && "status" in result);
      assert.equal(result.status, 0);
    });
  });
}
