// pgjdbc, unmodified and over verified TLS: scene by scene the same as straight from the server.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { mavenJar } from "./cache.ts";
import { javaDriver } from "./drivers.ts";
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
import { reasonWithoutJava, skipped } from "./toolchains.ts";

const run = promisify(execFile);
const scriptTimeoutMs = 120_000;
const options = skipped(reasonWithoutJava());

let jar: string;
let room: ClientRoom | undefined;

before(async () => {
  if (options.skip !== false) return;
  jar = await mavenJar(javaDriver);
  room = await openRoom();
});

after(async () => {
  await room?.close();
});

async function playJava(way: Way, ...scenes: readonly string[]): Promise<unknown> {
  const { host, port, database, user, password, caFile } = way;
  const script = join(import.meta.dirname, "PgjdbcScenes.java");
  const target = [host, String(port), database, user, password, caFile];
  const { stdout } = await run("java", ["-cp", jar, script, ...target, ...scenes], {
    timeout: scriptTimeoutMs,
  });
  return JSON.parse(stdout) as unknown;
}

test("pgjdbc: every scene ends as it does straight from the server", options, async () => {
  assert.ok(room !== undefined);
  const result = await sameBothWays(room, [...shop, ...notes], (way) => playJava(way));
  assert.equal(scenesOf(result).length, 11, "every scene was played");
});

test(
  "pgjdbc: masked columns arrive masked, a denial is understood, and the connection goes on",
  options,
  async () => {
    assert.ok(room !== undefined);
    await setPolicyScene(room);
    assertPolicyScene(await playJava(room.proxied, "policy"));
  },
);
