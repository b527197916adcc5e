import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import type { EventAck, EventBatch } from "../../contract/control.ts";
import { openSpool } from "../../proxy/audit/spool.ts";
import { shipLeftovers } from "./leftover-spools.ts";

function spoolsDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "chaperone-spools-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

async function record(directory: string, stream: string, events: number): Promise<void> {
  const spool = openSpool({ directory, stream });
  for (let event = 0; event < events; event += 1) await spool.appendDurably("session-start", {});
  await spool.close();
}

const sign = async (hash: string): Promise<string> => `signed ${hash}`;

test("ships what every earlier run left and removes its directory", async (t) => {
  const spools = spoolsDirectory(t);
  await record(join(spools, "one"), "local/one", 3);
  await record(join(spools, "two"), "local/two", 2);
  mkdirSync(join(spools, "empty"));
  const got: EventBatch[] = [];
  await shipLeftovers({
    spools,
    sign,
    say: assert.fail,
    ingest: async (batch): Promise<EventAck> => {
      got.push(batch);
      return { acknowledged: batch.events.at(-1)?.header.seq ?? 0 };
    },
  });
  assert.deepEqual(
    got.map(({ stream, events }) => [stream, events.map(({ header }) => header.seq)]),
    [
      ["local/one", [1, 2, 3]],
      ["local/two", [1, 2]],
    ],
  );
  assert.deepEqual(readdirSync(spools), []);
});

test("keeps what the store does not take, says so, and goes on with the others", async (t) => {
  const spools = spoolsDirectory(t);
  await record(join(spools, "one"), "local/one", 3);
  await record(join(spools, "two"), "local/two", 2);
  const said: string[] = [];
  await shipLeftovers({
    spools,
    sign,
    shipMs: 300,
    say: (line) => said.push(line),
    ingest: async (batch): Promise<EventAck> => {
      if (batch.stream === "local/one") throw new Error("disk full");
      return { acknowledged: batch.events.at(-1)?.header.seq ?? 0 };
    },
  });
  assert.deepEqual(readdirSync(spools), ["one"]);
  assert.match(said.join("\n"), /^3 events of an earlier run are still in .*one/);
});
