// Rules that look into what is said, under drivers with ways of their own to send a value: each value is found, each refusal is one the driver knows.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { deny, everything } from "../integration/postgres-proxy-harness.ts";
import { npmPackages } from "./cache.ts";
import { nodeDrivers, pythonDrivers } from "./drivers.ts";
import { playNode } from "./node.ts";
import { pythonPackages, runPython } from "./python.ts";
import { libpqUri, openRoom, type ClientRoom } from "./room.ts";

const card = "4111 1111 1111 1111";

let room: ClientRoom;

before(async () => {
  room = await openRoom();
  room.harness.setRules([...everything, deny({ detect: ["credit-card"] }, "no-cards")]);
});

after(async () => {
  await room?.close();
});

interface Seen {
  readonly harmless: Readonly<Record<string, unknown>>;
  readonly card: Readonly<Record<string, unknown>>;
  readonly after: boolean;
}

function assertFound(seen: Seen | undefined, ways: number, refusal: unknown): void {
  assert.ok(seen !== undefined);
  assert.equal(Object.keys(seen.card).length, ways);
  for (const [how, error] of Object.entries(seen.card)) assert.deepEqual(error, refusal, how);
  for (const [how, error] of Object.entries(seen.harmless)) assert.equal(error, null, how);
  assert.equal(seen.after, true);
}

test("psycopg, asyncpg and pg8000: a value is found in text, in binary, in arrays, JSON and bytea, and the connection goes on", async () => {
  const packages = await pythonPackages(pythonDrivers);
  const args = [libpqUri(room.proxied), JSON.stringify(room.proxied), card];
  const seen = (await runPython("said_policy.py", args, packages)) as Record<string, Seen>;
  assertFound(seen["psycopg"], 15, ["InsufficientPrivilege", "42501"]);
  assertFound(seen["asyncpg"], 5, ["InsufficientPrivilegeError", "42501"]);
  assertFound(seen["pg8000"], 2, ["DatabaseError", "42501"]);
});

test("pg: a value is found in every way that it has to send one, bytes of a type it does not say are refused, and the connection goes on", async () => {
  const packages = await npmPackages(nodeDrivers);
  const seen = (await playNode("said_policy.mjs", packages, room.proxied, card)) as Seen & {
    readonly untyped: unknown;
  };
  assertFound(seen, 4, ["DatabaseError", "42501"]);
  // docs/masking.md: what cannot be looked into is read against the agent.
  assert.deepEqual(seen.untyped, ["DatabaseError", "42501"]);
});
