// Python's drivers and what is built on them, each unmodified and over verified TLS: scene by scene the same as straight from the server.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { everything } from "../integration/postgres-proxy-harness.ts";
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
  type Way,
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

test("what agents are built on finds everything it looks up although masks are on another table", async (t) => {
  const masked = await openRoom();
  t.after(() => masked.close());
  await masked.run("CREATE TABLE people (id int, ssn text)");
  for (const [index, script] of ["sqlalchemy_scenes.py", "langchain_scenes.py"].entries()) {
    const play = async (way: Way): Promise<unknown> =>
      runPython(script, [JSON.stringify(way)], packages);
    // Once: what others make anew is known to the proxy a minute later.
    if (index === 0) await masked.run(...shop, ...notes);
    const direct = await play(masked.direct);
    masked.harness.setRules(everything, {
      columnMasks: [
        { column: "public.people.ssn", transform: { kind: "redact" }, policy: "agents/p" },
      ],
    });
    assert.deepEqual(await play(masked.proxied), direct, script);
    assert.ok(scenesOf(direct).length >= 4, "every scene was played");
  }
});
