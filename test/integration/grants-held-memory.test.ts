// What stays of a credential in the proxy's heap once its grant is over: nothing that a heap snapshot finds. In a process of its own: snapshots of a large heap take seconds.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { getHeapSnapshot, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { ProxyError } from "../../proxy/errors.ts";
import { OperatorClient } from "../../proxy/grant/client.ts";
import { ManualClock, settled } from "../../proxy/grant/fixture.ts";
import { HeldGrant } from "../../proxy/grant/held.ts";
import { ProofKey } from "../../proxy/grant/keys.ts";

/** An operator of another process, so that this one knows the credential from its answer alone; it tells it backwards. */
const operator = `
const password = require("node:crypto").randomBytes(24).toString("hex");
const bundle = {
  version: 1, requires: [], generation: "g", connection: { namespace: "agents", name: "db", protocol: "postgres" },
  subject: { namespace: "agents", serviceAccount: "a" }, policies: ["agents/p"], observeOnly: false, rules: [],
  columnMasks: [], detectMasks: [], maskKey: "", limits: {},
  recording: { detail: "Statements", strict: false, retentionDays: 90 }, grantTtlSeconds: 300,
};
const answer = {
  access_token: "t", issued_token_type: "urn:ietf:params:oauth:token-type:access_token", token_type: "DPoP", expires_in: 300,
  grant: {
    id: "g1", connection: bundle.connection, bundle, expiresAt: "1999-01-01T00:00:00Z",
    endpoint: { host: "db", port: 5432, tls: { mode: "VerifyFull" }, basePath: "" },
    lease: { kind: "password", username: "app", password },
  },
};
require("node:http").createServer((request, response) => {
  request.resume().on("end", () => response.setHeader("content-type", "application/json").end(JSON.stringify(answer)));
}).listen(0, "127.0.0.1", function () {
  console.log(this.address().port, [...password].reverse().join(""));
});`;

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Whether the heap holds the text, given backwards so that asking does not put it there. */
async function holds(backwards: string): Promise<boolean> {
  for (let round = 0; round < 3; round += 1) {
    await settled();
    collect();
  }
  const snapshot = getHeapSnapshot();
  const wanted = Buffer.from(backwards).reverse();
  let tail: Buffer = Buffer.alloc(0);
  let found = false;
  for await (const chunk of snapshot) {
    const text = Buffer.concat([tail, Buffer.from(chunk)]);
    found ||= text.includes(wanted);
    tail = text.subarray(-wanted.length);
  }
  return found;
}

test("a credential is in the heap while its grant is held, and nowhere in it once the grant is over", async (t) => {
  const child = spawn(process.execPath, ["-e", operator], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill());
  const [said] = (await once(child.stdout, "data")) as [Buffer];
  const [port = "", backwards = ""] = said.toString().trim().split(" ");
  const client = new OperatorClient({
    address: { url: `http://127.0.0.1:${port}` },
    key: await ProofKey.create(Date.now),
    readToken: async () => "token",
  });
  t.after(() => client.close());
  const held = new HeldGrant({
    connection: "agents/db",
    exchange: (signal) => client.exchange("chaperone.dev/connection/agents/db", signal),
    clock: new ManualClock(),
    random: () => 0.5,
    barred: () => undefined,
    onChange: () => undefined,
  });
  await held.acquire(AbortSignal.timeout(10_000));
  assert.equal(await holds(backwards), true);
  held.end(new ProxyError("GrantEnded", "it is over"));
  assert.equal(await holds(backwards), false);
  await held.close();
});
