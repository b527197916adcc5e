// Every client of the list before older PostgreSQLs: scenes played straight and through the proxy, and what a policy does to each.
import assert from "node:assert/strict";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { npmPackages } from "./cache.ts";
import { pgjdbc, pgx, type Play } from "./compiled.ts";
import { nodeDrivers, olderScenes, pythonDrivers, type OlderClient } from "./drivers.ts";
import { playNode } from "./node.ts";
import { benchArguments, playBench } from "./pgbench-run.ts";
import { installPrograms, runProgram, type Programs } from "./programs.ts";
import { playPsql } from "./psql-session.ts";
import { pythonPackages, runPython } from "./python.ts";
import {
  assertPolicyScene,
  libpqUri,
  notes,
  openRoom,
  sameBothWays,
  scenesOf,
  setPolicyScene,
  type ClientRoom,
  type Way,
} from "./room.ts";
import { olderServer } from "./servers.ts";
import { shop } from "./shop.ts";
import { reasonWithoutGo, reasonWithoutJava, skipped } from "./toolchains.ts";

interface Tools {
  readonly programs: Programs;
  readonly python: string;
  readonly node: string;
  readonly pgx: Play | undefined;
  readonly pgjdbc: Play | undefined;
}

type Player = (tools: Tools, room: ClientRoom, way: Way, scenes: readonly string[]) => unknown;

const byPython =
  (script: string): Player =>
  ({ python }, _, way, scenes) =>
    runPython(script, [JSON.stringify(way), ...scenes], python);

const byNode =
  (script: string): Player =>
  ({ node }, _, way, scenes) =>
    playNode(script, node, way, ...scenes);

const byCompiled =
  (name: "pgx" | "pgjdbc"): Player =>
  (tools, _, way, scenes) =>
    tools[name]?.(way, ...scenes);

const players: Readonly<Record<OlderClient, Player>> = {
  psql: ({ programs }, room, way) => playPsql(programs, room, way),
  pg_dump: ({ programs }, _, way) => runProgram(programs, way, "pg_dump", ["--restrict-key=key"]),
  pgbench: async ({ programs }, room, way) => {
    const modes = ["simple", "extended", "prepared"];
    const seen: Record<string, unknown> = {};
    for (const mode of modes)
      seen[mode] = await playBench(
        programs,
        room,
        way,
        benchArguments(mode, 50),
        mode === modes[0] ? "made" : "left",
      );
    return seen;
  },
  psycopg: ({ python }, _, way, scenes) =>
    runPython("psycopg_scenes.py", [libpqUri(way), ...scenes], python),
  psycopg2: byPython("psycopg2_scenes.py"),
  asyncpg: byPython("asyncpg_scenes.py"),
  pg8000: byPython("pg8000_scenes.py"),
  sqlalchemy: byPython("sqlalchemy_scenes.py"),
  langchain: byPython("langchain_scenes.py"),
  pg: byNode("pg_scenes.mjs"),
  postgres: byNode("postgres_scenes.mjs"),
  drizzle: byNode("drizzle_scenes.mjs"),
  pgx: byCompiled("pgx"),
  pgjdbc: byCompiled("pgjdbc"),
};

/** Drivers that read the masked column in every way they have, all from one table; the others' own tests do so before PostgreSQL 18. */
const underPolicy = ["pg", "asyncpg", "pgx"] as const;

const withoutTools = {
  pgx: skipped(reasonWithoutGo()),
  pgjdbc: skipped(reasonWithoutJava()),
} as const;

const isCompiled = (name: string): name is keyof typeof withoutTools => name in withoutTools;
const optionsOf = (name: string) => (isCompiled(name) ? withoutTools[name] : { skip: false });

async function gatherTools(): Promise<Tools> {
  return {
    programs: await installPrograms(),
    python: await pythonPackages(pythonDrivers),
    node: await npmPackages(nodeDrivers),
    pgx: withoutTools.pgx.skip === false ? await pgx() : undefined,
    pgjdbc: withoutTools.pgjdbc.skip === false ? await pgjdbc() : undefined,
  };
}

/** Defines the tests of these major versions, one after the other; a file for some of them lets two run at a time. */
export function everyClientBefore(...majors: readonly number[]): void {
  let tools: Tools;

  before(async () => {
    tools = await gatherTools();
  });

  for (const major of majors)
    describe(`PostgreSQL ${major}`, () => everyClientBeforeOne(major, () => tools));
}

function everyClientBeforeOne(major: number, tools: () => Tools): void {
  let folder: string;
  let room: ClientRoom;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "chaperone-servers-"));
    await chmod(folder, 0o755);
    room = await openRoom(await olderServer(major, folder));
    const [row] = await room.run("SHOW server_version_num");
    assert.ok(String(row?.["server_version_num"]).startsWith(String(major)));
  });

  after(async () => {
    await room?.close();
    await rm(folder, { recursive: true, force: true });
  });

  for (const { client, scenes, results } of olderScenes) {
    test(
      `PostgreSQL ${major}: ${client} ends every scene as straight from the server`,
      optionsOf(client),
      async () => {
        const result = await sameBothWays(room, [...shop, ...notes], async (way) =>
          players[client](tools(), room, way, scenes),
        );
        assert.equal(scenesOf(result).length, results, "every scene was played");
        if (client === "pg_dump") assert.ok(JSON.stringify(result).includes('"status":0'));
      },
    );
  }

  for (const [index, client] of underPolicy.entries()) {
    test(
      `PostgreSQL ${major}: ${client} gets masked columns masked, understands a denial and goes on`,
      optionsOf(client),
      async () => {
        if (index === 0) await setPolicyScene(room);
        assertPolicyScene(await players[client](tools(), room, room.proxied, ["policy"]));
      },
    );
  }
}
