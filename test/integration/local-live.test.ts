// What changes under a running `chaperone dev` acts on open connections: policies, broken files, quarantines, decisions of people.
import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, beforeEach, test } from "node:test";
import pg from "pg";
import { databasePolicyYaml, modelPolicyYaml } from "./local-manifests.ts";
import {
  createSystem,
  eventually,
  pendingRequest,
  startServers,
  type Dev,
  type LocalSystem,
  type Servers,
} from "./local-system.ts";

let servers: Servers;
let system: LocalSystem;
let dev: Dev;
const clients: pg.Client[] = [];

before(async () => {
  servers = await startServers({
    models: ["gpt-5-mini"],
    steps: [
      {
        match: { text: "forever" },
        text: Array.from({ length: 400 }, (_, at) => `word${at}`).join(" "),
        gapMs: 20,
      },
      { text: "hello" },
    ],
  });
  system = await createSystem(servers.targets);
  dev = await system.dev();
});

beforeEach(async () => {
  for (const client of clients.splice(0)) await client.end().catch(() => undefined);
});

after(async () => {
  for (const client of clients) await client.end().catch(() => undefined);
  await dev?.stop();
  await system?.close();
  await servers?.close();
});

interface Opened {
  readonly client: pg.Client;
  /** SQLSTATE of what ended the connection. */
  readonly ended: Promise<string | undefined>;
}

async function open(): Promise<Opened> {
  const client = new pg.Client({ connectionString: dev.databaseUrl });
  const ended = new Promise<string | undefined>((resolve) =>
    client.on("error", (error: Error & { code?: string }) => resolve(error.code)),
  );
  await client.connect();
  clients.push(client);
  return { client, ended };
}

async function codeOf(query: Promise<unknown>): Promise<string | undefined> {
  try {
    await query;
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
}

async function within(ms: number, what: string, done: Promise<unknown>): Promise<void> {
  const late = new Promise((_, reject) =>
    setTimeout(() => reject(new Error(`${what}: not within ${ms} ms`)), ms).unref(),
  );
  await Promise.race([done, late]);
}

/** The state command polls every 200 ms, a watcher is quiet for 150 ms; a busy machine takes its time over either. */
const patienceMs = 30_000;

test("a Deny added to a policy refuses the next statements of an open connection", async () => {
  const { client } = await open();
  await client.query("SELECT id FROM orders WHERE id = 1");
  await system.write(
    "database.yaml",
    databasePolicyYaml({
      rules: [
        "{name: frozen, action: Deny, sql: {statements: [select], relations: [public.orders]}, message: Orders are frozen today.}",
      ],
    }),
  );
  let message = "";
  await eventually(
    "the Deny acts",
    async () => {
      const failure = await client.query("SELECT id FROM orders WHERE id = 1").then(
        () => undefined,
        (error: Error) => error,
      );
      message = failure?.message ?? "";
      return failure !== undefined;
    },
    patienceMs,
  );
  assert.equal(message, "Orders are frozen today.");
  const { rows } = await client.query("SELECT id FROM customers WHERE id = 1");
  assert.equal(rows.length, 1, "what is still allowed works on the same connection");
  await system.write("database.yaml", databasePolicyYaml());
  await eventually(
    "the Deny is gone",
    async () => (await codeOf(client.query("SELECT id FROM orders WHERE id = 1"))) === undefined,
    patienceMs,
  );
});

test("a ClusterAccessPolicy beside the policies acts on an open connection, and goes as it came", async (t) => {
  t.after(() => system.write("cluster.yaml", "# nothing\n"));
  const { client } = await open();
  const read = (): Promise<unknown> => client.query("SELECT id FROM orders WHERE id = 1");
  await read();
  const cluster = (spec: string): string =>
    `apiVersion: chaperone.dev/v1alpha1\nkind: ClusterAccessPolicy\nmetadata: {name: guard}\nspec: ${spec}\n`;
  await system.write(
    "cluster.yaml",
    cluster(
      "{rules: [{name: frozen, action: Deny, sql: {statements: [select], relations: [public.orders]}}]}",
    ),
  );
  await eventually(
    "the Deny of the cluster acts",
    async () => (await codeOf(read())) === "42501",
    patienceMs,
  );
  await system.write("cluster.yaml", cluster("{limits: {rowsPerResult: 1}}"));
  await eventually(
    "the Deny is gone, and the limit stands",
    async () =>
      (await codeOf(read())) === undefined &&
      (await codeOf(client.query("SELECT id FROM customers"))) !== undefined,
    patienceMs,
  );
  await system.write("cluster.yaml", "# nothing\n");
  await eventually(
    "the limit is gone",
    async () => (await codeOf(client.query("SELECT id FROM customers"))) === undefined,
    patienceMs,
  );
});

test("a mask added to a policy masks a statement prepared and described before it", async () => {
  const { client } = await open();
  const named = {
    name: "cached",
    text: "SELECT id, status FROM orders WHERE id = $1",
    values: [1],
  };
  assert.deepEqual((await client.query(named)).rows, [{ id: 1, status: "paid" }]);
  const masked = databasePolicyYaml().replace(
    "  masking:\n",
    "  masking:\n    - columns: [public.orders.status]\n      transform: {fixed: {value: hidden}}\n",
  );
  await system.write("database.yaml", masked);
  await eventually(
    "the mask acts",
    async () => {
      const { rows } = await client.query<{ status: string }>(named);
      return rows[0]?.status === "hidden";
    },
    patienceMs,
  );
  await system.write("database.yaml", databasePolicyYaml());
  await eventually(
    "the mask is gone",
    async () => (await client.query<{ status: string }>(named)).rows[0]?.status === "paid",
    patienceMs,
  );
});

test("removing the policy ends the connections that were opened under it with 57P01", async () => {
  const { client, ended } = await open();
  await client.query("SELECT id FROM orders WHERE id = 1");
  await system.remove("database.yaml");
  await within(patienceMs, "the connection ends", ended);
  assert.equal(await ended, "57P01");
  await assert.rejects(open(), /policy|grant/i);
  await system.write("database.yaml", databasePolicyYaml());
  await eventually("it is back", async () => (await codeOf(open())) === undefined, patienceMs);
});

test("a broken file is told with its place, and the last good state stays in force", async () => {
  const { client } = await open();
  let before = dev.stderr().length;
  await system.write(
    "database.yaml",
    "kind: AccessPolicy\napiVersion: chaperone.dev/v1alpha1\nspec: {rulez: []}\n",
  );
  await dev.said(/database\.yaml:\d+: [^]*the last good state stays in force/, before);
  await client.query("SELECT id FROM orders WHERE id = 1");
  assert.equal(await codeOf(client.query("DROP TABLE orders")), "42501");
  before = dev.stderr().length;
  await system.write("database.yaml", "{{{ not yaml");
  await dev.said(/database\.yaml:1/, before);
  await client.query("SELECT id FROM orders WHERE id = 1");
  assert.equal(await codeOf(client.query("DROP TABLE orders")), "42501");
  before = dev.stderr().length;
  await system.write("database.yaml", databasePolicyYaml());
  await dev.said("manifests reloaded", before);
});

test("a rotated password is used for the next connection without a restart", async () => {
  const before = await open();
  await before.client.query("SELECT 1");
  const { connectionsYaml } = await import("./local-manifests.ts");
  const rotated = { ...servers.targets, databasePassword: "rotated-password-1" };
  await servers.superuser("ALTER ROLE app PASSWORD 'rotated-password-1'");
  await system.write("connections.yaml", connectionsYaml(rotated));
  await eventually(
    "the new password is used",
    async () => (await codeOf(open())) === undefined,
    patienceMs,
  );
  await servers.superuser(`ALTER ROLE app PASSWORD '${servers.targets.databasePassword}'`);
  await system.write("connections.yaml", connectionsYaml(servers.targets));
  await eventually(
    "and the old one again",
    async () => (await codeOf(open())) === undefined,
    patienceMs,
  );
});

test("a quarantine cuts an open connection, refuses new ones, and can be lifted", async () => {
  const { client, ended } = await open();
  await client.query("SELECT id FROM orders WHERE id = 1");
  const added = await system.cli([
    "quarantine",
    "add",
    "--service-account",
    "invoice-agent",
    "--reason",
    "unusual refunds",
    "--state",
    system.state,
  ]);
  assert.equal(added.code, 0, added.stderr);
  await within(patienceMs, "the connection is cut", ended);
  await assert.rejects(open(), /unusual refunds/);
  const chat = await fetch(`${dev.openaiUrl}/models`, {
    headers: { authorization: `Bearer ${dev.openaiKey}` },
  });
  assert.equal(chat.status, 403);
  const [quarantine] = await system.ask<{ name: string; reason: string }[]>("quarantine", "list");
  assert.equal(quarantine?.reason, "unusual refunds");
  const lifted = await system.cli([
    "quarantine",
    "lift",
    quarantine?.name ?? "",
    "--state",
    system.state,
  ]);
  assert.equal(lifted.code, 0, lifted.stderr);
  await eventually("restored", async () => (await codeOf(open())) === undefined, patienceMs);
});

test("a quarantine cuts a streamed answer of a model in the middle", async () => {
  const url = new URL(`${dev.openaiUrl}/chat/completions`);
  const body = JSON.stringify({
    model: "gpt-5-mini",
    stream: true,
    messages: [{ role: "user", content: "forever" }],
  });
  let chunks = 0;
  let first: () => void = () => undefined;
  const streaming = new Promise<void>((resolve) => (first = resolve));
  const over = new Promise<"complete" | "cut">((resolve) => {
    const sent = request(
      url,
      {
        method: "POST",
        headers: {
          authorization: `Bearer ${dev.openaiKey}`,
          "content-type": "application/json",
          "content-length": Buffer.byteLength(body),
        },
      },
      (response) => {
        response.on("data", () => {
          chunks += 1;
          if (chunks === 3) first();
        });
        response.on("close", () => resolve(response.complete ? "complete" : "cut"));
        response.on("error", () => undefined);
      },
    );
    sent.on("error", () => resolve("cut"));
    sent.end(body);
  });
  await streaming;
  const backend = await system.backend();
  const { name } = await backend.addQuarantine({ namespace: "agents", all: true, reason: "stop" });
  await within(patienceMs, "the stream is cut", over);
  assert.equal(await over, "cut");
  assert.ok(chunks < 300, `${chunks} of some 400 chunks`);
  await eventually(
    "the upstream is told",
    () => servers.openai.requests.at(-1)?.aborted === true,
    patienceMs,
  );
  await backend.liftQuarantine("agents", name);
  await eventually("restored", async () => (await codeOf(open())) === undefined, patienceMs);
});

async function decide(verdict: "Approved" | "Denied", reason?: string): Promise<void> {
  const name = await pendingRequest(system);
  await (await system.backend()).decide("agents", name, verdict, reason);
}

async function refunds(id: number): Promise<number> {
  const [row] = await servers.superuser(`SELECT refunds FROM orders WHERE id = ${id}`);
  return Number(row?.["refunds"]);
}

test("an approved operation passes while it waits; a denied one is refused with the reason", async () => {
  const { client } = await open();
  const refund = client.query("UPDATE orders SET refunds = refunds + 1 WHERE id = 50");
  const name = await pendingRequest(system);
  const listed = await system.ask<{ name: string; phase: string }[]>("requests", "list");
  assert.deepEqual(
    listed.map((row) => [row.name, row.phase]),
    [[name, "Pending"]],
  );
  const approved = await system.cli(["approve", name, "--reason", "ok", "--state", system.state]);
  assert.equal(approved.code, 0, approved.stderr);
  assert.equal((await refund).rowCount, 1);
  assert.equal(await refunds(50), 1);
  const again = client.query("UPDATE orders SET refunds = refunds + 1 WHERE id = 50");
  const refused = assert.rejects(again, /denied .*refunded already/);
  const denied = await system.cli([
    "deny",
    await pendingRequest(system),
    "--reason",
    "refunded already",
    "--state",
    system.state,
  ]);
  assert.equal(denied.code, 0, denied.stderr);
  await refused;
  assert.equal(await refunds(50), 1);
});

test("one approval is spent once, however many send the approved operation at the same time", async () => {
  const senders = await Promise.all(Array.from({ length: 20 }, open));
  const statement = "UPDATE orders SET refunds = refunds + 1 WHERE id = 60";
  const results = Promise.allSettled(senders.map(({ client }) => client.query(statement)));
  await decide("Approved");
  // Those who did not get it ask anew, each in its own time.
  const open_ = await deniedUntil(results);
  const settled = await results;
  assert.equal(settled.filter(({ status }) => status === "fulfilled").length, 1, `${open_} denied`);
  assert.equal(await refunds(60), 1);
});

/** Denies whatever is held until these have all been answered. */
async function deniedUntil(answered: Promise<unknown>): Promise<number> {
  let [denied, isOver] = [0, false];
  void answered.then(() => (isOver = true));
  const backend = await system.backend();
  await eventually(
    "everybody is answered",
    async () => {
      for (const { name, phase } of await backend.requests(false)) {
        if (phase !== "Pending") continue;
        await backend.decide("agents", name, "Denied", "once is enough");
        denied += 1;
      }
      return isOver;
    },
    patienceMs,
  );
  return denied;
}

test("the approval of one statement lets no other statement pass, nor the same one twice", async () => {
  const { client } = await open();
  const first = client.query("UPDATE orders SET refunds = 1 WHERE id = $1", [70]);
  await decide("Approved");
  await first;
  for (const [text, values] of [
    ["UPDATE orders SET refunds = 1 WHERE id = $1", [71]],
    ["UPDATE orders SET refunds = 2 WHERE id = $1", [70]],
    ["UPDATE orders SET refunds = 1 WHERE id = $1", [70]],
  ] as const) {
    const other = client.query(text, [...values]).then(
      () => "passed",
      (error: Error) => error.message,
    );
    await decide("Denied", "no");
    assert.match(await other, /was denied/, `${text} ${values.join()}`);
  }
});

test("an operation that nobody decides answers pending, and passes when sent again after approval", async () => {
  const from = dev.stderr().length;
  await system.write("database.yaml", databasePolicyYaml({ hold: "1s" }));
  await dev.said("manifests reloaded", from);
  const { client } = await open();
  const statement = "UPDATE orders SET refunds = refunds + 1 WHERE id = 80";
  await assert.rejects(client.query(statement), /held for a person as request .* It stays open/);
  await decide("Approved");
  assert.equal((await client.query(statement)).rowCount, 1);
  assert.equal(await refunds(80), 1);
  await system.write("database.yaml", databasePolicyYaml());
});

test("models, tools and limits that no rule allows are refused in the provider's own error shape", async () => {
  await system.write("models.yaml", modelPolicyYaml());
  const ask = async (body: unknown): Promise<[number, string]> => {
    const answer = await fetch(`${dev.openaiUrl}/chat/completions`, {
      method: "POST",
      headers: { authorization: `Bearer ${dev.openaiKey}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    return [answer.status, await answer.text()];
  };
  const messages = [{ role: "user", content: "hi" }];
  const [status, text] = await ask({ model: "gpt-5", messages });
  assert.equal(status, 403);
  assert.equal((JSON.parse(text) as { error: { code: string } }).error.code, "Denied");
  const tools = [{ type: "function", function: { name: "delete_all", parameters: {} } }];
  assert.equal((await ask({ model: "gpt-5-mini", messages, tools }))[0], 403);
  assert.equal((await ask({ model: "gpt-5-mini", messages, max_tokens: 5000 }))[0], 403);
  assert.equal((await ask({ model: "gpt-5-mini", messages }))[0], 200);
});
