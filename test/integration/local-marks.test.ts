// The whole of data-flow marks as a user meets it: what an agent read in PostgreSQL decides what it may then send elsewhere, and the replay says why.
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import pg from "pg";
import { parseEvents } from "./local-events.ts";
import { databasePolicyYaml, secretNumbers } from "./local-manifests.ts";
import {
  createSystem,
  eventually,
  startServers,
  type LocalSystem,
  type Servers,
} from "./local-system.ts";

let servers: Servers;
let system: LocalSystem;
let notes: Server;
/** What arrived at the unrelated place. */
const arrived: string[] = [];

before(async () => {
  servers = await startServers({ models: ["gpt-5-mini"], steps: [{ text: "hello" }] });
  system = await createSystem(servers.targets);
  notes = createServer((incoming, outgoing) => {
    let text = "";
    incoming.on("data", (chunk: Buffer) => (text += chunk.toString()));
    incoming.on("end", () => {
      arrived.push(text);
      outgoing.end("noted");
    });
  });
  notes.listen(0, "127.0.0.1");
  await once(notes, "listening");
  await system.write(
    "database.yaml",
    databasePolicyYaml().replace(
      "transform: {partial: {keepLast: 4}}",
      "transform: {partial: {keepLast: 4}}\n      marks: [pii]",
    ),
  );
  await system.write("notes.yaml", notesYaml());
});

after(async () => {
  await system?.close();
  await servers?.close();
  notes?.close();
});

function notesYaml(): string {
  const address = notes.address();
  assert.ok(address !== null && typeof address === "object");
  return `apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: notes, namespace: agents}
spec:
  protocol: http
  endpoint: {url: "http://localhost:${address.port}", tls: {mode: Disable}}
  hosts: [notes.example]
  inject:
    env: {NOTES_URL: "\${url}"}
---
apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: notes, namespace: agents}
spec:
  targetRefs: [{group: chaperone.dev, kind: Connection, name: notes}]
  rules:
    - {name: write, action: Allow, http: {}}
    - {name: nothing-personal, action: Deny, http: {methods: [POST]}, when: "session.marks.exists(m, m == 'pii')"}
`;
}

const agent = join(import.meta.dirname, "local-marks-agent.ts");
const state = (): string => join(system.directory, "run");

test("an agent that read customers and then posts to an unrelated host is refused, and replay shows why", async () => {
  const ended = await system.cli([
    "run",
    "-f",
    system.manifests,
    "--service-account",
    "invoice-agent",
    "--chain",
    "invoices",
    "--state",
    state(),
    "--",
    process.execPath,
    agent,
  ]);
  assert.equal(ended.code, 0, ended.stderr);
  const said = JSON.parse(ended.stdout) as { before: string; read: string; after: string };
  assert.equal(said.before, "200 noted");
  assert.equal(said.read, `*******${secretNumbers[0].slice(-4)}`);
  assert.match(said.after, /^403 /);
  assert.match(said.after, /agents\/notes rule nothing-personal/);
  assert.match(said.after, /this pod's session carries the mark pii/);
  assert.deepEqual(arrived, ["hello"]);

  const events = parseEvents(
    (await system.cli(["events", "--state", state(), "-o", "json", "--limit", "1000"])).stdout,
  );
  const [mark, ...more] = events.filter(({ type }) => type === "mark");
  assert.deepEqual(more, []);
  assert.equal(mark?.connection?.name, "orders-db");
  const refused = events.find(({ decision }) => decision?.rule === "nothing-personal");
  assert.equal(refused?.connection?.name, "notes");

  const replayed = await system.cli([
    "sessions",
    "replay",
    refused?.session ?? "",
    "--no-wait",
    "--state",
    state(),
  ]);
  assert.equal(replayed.code, 0, replayed.stderr);
  const text = replayed.stdout.replaceAll(/\s+/g, " ");
  assert.match(
    text,
    /mark pii: read column public\.customers\.ssn \(agents\/invoice-agent\) by SELECT ssn FROM customers/,
  );
  assert.match(
    text,
    /deny agents\/notes rule nothing-personal:.*the pod's session carried pii since \S+ \(agents\/orders-db\): read column public\.customers\.ssn/,
  );
  const own = await system.cli([
    "sessions",
    "replay",
    refused?.session ?? "",
    "--only",
    "--no-wait",
    "--state",
    state(),
  ]);
  assert.match(own.stdout.replaceAll(/\s+/g, " "), /carried pii since/);
  for (const secret of secretNumbers) assert.ok(!replayed.stdout.includes(secret));

  const verified = await system.cli(["audit", "verify", "--state", state()]);
  assert.equal(verified.code, 0, verified.stdout);
});

test("explain answers for a session that carries the mark, and says what would put it", async () => {
  const args = [
    "explain",
    "-f",
    system.manifests,
    "--service-account",
    "agents/invoice-agent",
    "-n",
    "agents",
  ];
  const post = [...args, "--connection", "notes", "--http", "POST /notes"];
  assert.equal((await system.cli(post)).code, 0);
  const refused = await system.cli([...post, "--marks", "pii"]);
  assert.equal(refused.code, 1);
  assert.match(refused.stdout, /session +carries pii/);
  assert.match(refused.stdout, /denied by agents\/notes rule nothing-personal/);
  const read = await system.cli([
    ...args,
    "--connection",
    "orders-db",
    "--sql",
    "SELECT ssn FROM customers",
  ]);
  assert.match(read.stdout, /mask public\.customers\.ssn: .*, marks the session pii/);
});

test("in a running dev, a parallel query and post: whatever is sent once the row is here is refused", async () => {
  const dev = await system.dev();
  const { url } = dev.connection("notes");
  const post = async (): Promise<number> =>
    (await fetch(`${url}/notes`, { method: "POST", body: "x" })).status;
  const db = new pg.Client({ connectionString: dev.databaseUrl });
  await db.connect();
  assert.equal(await post(), 200);
  let hasRow = false;
  const late: number[] = [];
  const posting = async (): Promise<void> => {
    while (late.length < 5) {
      const isLate = hasRow;
      const status = await post();
      if (isLate) late.push(status);
    }
  };
  const reading = new Promise<void>((resolve, reject) => {
    const query = db.query(new pg.Query("SELECT ssn FROM customers"));
    query.on("row", () => (hasRow = true));
    query.on("end", () => resolve());
    query.on("error", reject);
  });
  await Promise.all([reading, posting(), posting()]);
  assert.deepEqual(new Set(late), new Set([403]));
  const kept = async (): Promise<boolean> => {
    const [file = ""] = await markFiles();
    return file.includes('"pii"');
  };
  await eventually("the mark is on disk", kept, 5_000);
  await db.end();
  await dev.stop();
});

async function markFiles(): Promise<string[]> {
  const { glob } = await import("node:fs/promises");
  const found: string[] = [];
  for await (const file of glob(`${system.state}/**/marks.json`))
    found.push(await readFile(file, "utf8"));
  return found;
}
