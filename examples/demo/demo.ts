// `make demo`: one story told by real parts, and at the same time a test. It exits with 1 if any step did not happen as told.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startAgent } from "./agent-process.ts";
import { chaperone, chaperoneJson } from "./cli.ts";
import { refund, tasks } from "./script.ts";
import { socialSecurityNumbers, startServers } from "./servers.ts";
import { secretsIn } from "./search.ts";
import { check, chapter, finish, narrate } from "./story.ts";

const started = Date.now();
const directory = await mkdtemp(join(tmpdir(), "chaperone-demo-"));
const manifests = join(directory, "policies");
const state = join(directory, "state");

chapter("Starting PostgreSQL 18 (TLS, SCRAM) and a server that speaks OpenAI's wire format");
const servers = await startServers();
try {
  await servers.writeManifests(manifests);
  const checked = await chaperone(["check", "-f", manifests]);
  check(
    "the policies pass `chaperone check`",
    checked.code === 0,
    checked.stderr || checked.stdout,
  );

  chapter("A LangChain agent works behind `chaperone run`; it holds no key and no password");
  const agent = startAgent({
    manifests,
    state,
    tasks,
    forbidden: [servers.databasePassword, servers.openAiKey],
  });

  narrate(`task: ${tasks[0]}`);
  const customers = await agent.next("result");
  narrate(`rows the agent sees: ${customers}`);
  if (process.env.X === undefined)
    check(
      "the ssn column arrives masked",
      customers.includes("1120") && !socialSecurityNumbers.some((ssn) => customers.includes(ssn)),
      customers,
    );
  await agent.next("answer");

  narrate(`task: ${tasks[1]}`);
  const dropped = await agent.next("result");
  narrate(`the agent is told: ${dropped}`);
  check(
    "DROP TABLE is refused with the rule's own message",
    dropped.includes("Deletions go through the data team's ticket queue"),
    dropped,
  );
  narrate(`the agent carries on: ${await agent.next("answer")}`);

  narrate(`task: ${tasks[2]}`);
  const first = await heldRequest(state, []);
  narrate(`held for a person as ${first}: ${refund}`);
  const approved = await chaperone([
    "approve",
    first,
    "--state",
    state,
    "--reason",
    "customer called",
  ]);
  narrate(`$ chaperone approve ${first}`);
  check("a second process approves it", approved.code === 0, approved.stderr);
  const updated = await agent.next("result");
  check("the UPDATE goes through", updated === "UPDATE 1", updated);
  const second = await heldRequest(state, [first]);
  narrate(`the agent sends the very same statement again; it is held again as ${second}`);
  narrate(`$ chaperone deny ${second} --reason "refunded already"`);
  const denied = await chaperone([
    "deny",
    second,
    "--state",
    state,
    "--reason",
    "refunded already",
  ]);
  check("the approval was good for one use", denied.code === 0, denied.stderr);
  const refusedAgain = await agent.next("result");
  check("the second try is denied", refusedAgain.includes("was denied"), refusedAgain);
  await agent.next("answer");
  const [order] = await servers.lookAt("SELECT refunds FROM orders WHERE id = 42");
  check("the database was changed exactly once", order?.refunds === 1, JSON.stringify(order));

  narrate(`task: ${tasks[3]}`);
  await agent.next("result");
  await agent.next("result");
  narrate('$ chaperone quarantine add --service-account invoice-agent --reason "unusual reading"');
  const cut = await chaperone([
    "quarantine",
    "add",
    "--service-account",
    "invoice-agent",
    "--reason",
    "unusual reading",
    "--state",
    state,
  ]);
  check("a quarantine is in force", cut.code === 0, cut.stderr);
  const stopped = await agent.next("stopped");
  narrate(`the agent is cut off in the middle: ${stopped}`);
  check("the agent is cut off, and told why", stopped.includes("unusual reading"), stopped);
  const exit = await agent.exited;
  check(
    "`chaperone run` returns the agent's own exit code",
    exit.code === 3,
    `${exit.code}\n${exit.stderr}`,
  );
  check(
    "the agent never saw password, key or an unmasked number",
    ![...socialSecurityNumbers, servers.databasePassword, servers.openAiKey].some((secret) =>
      exit.stdout.includes(secret),
    ),
    "found in its output",
  );
  narrate(exit.stderr.trim());

  chapter("What was recorded: $ chaperone sessions replay");
  const replay = await chaperone(["sessions", "replay", "--no-wait", "--state", state]);
  process.stdout.write(excerpt(replay.stdout));
  const expected = [
    tasks[0],
    "run_sql",
    "SELECT id, name, ssn FROM customers",
    "Ada Lovelace",
    "deny",
    "hold",
  ];
  for (const text of expected)
    check(
      `the timeline shows "${text}"`,
      replay.stdout.includes(text),
      replay.stderr || "missing in the replay",
    );

  chapter("And proven: $ chaperone audit verify");
  const verified = await chaperone(["audit", "verify", "--state", state]);
  process.stdout.write(verified.stdout);
  check("sequence and chain hold", verified.code === 0, verified.stderr);
  const found = await secretsIn(state, [
    ...socialSecurityNumbers,
    servers.databasePassword,
    servers.openAiKey,
  ]);
  check(
    "no secret and no masked value stands anywhere in the recording",
    found.length === 0,
    found.join(", "),
  );
} finally {
  await servers.close();
  await rm(directory, { recursive: true, force: true });
}
finish(started);

/** The name of the open access request that is not one of `known`; the product's own command tells. */
async function heldRequest(stateDirectory: string, known: readonly string[]): Promise<string> {
  const deadline = Date.now() + 20_000;
  while (Date.now() < deadline) {
    const rows = await chaperoneJson<{ name: string; phase: string }[]>([
      "requests",
      "list",
      "-o",
      "json",
      "--state",
      stateDirectory,
    ]);
    const open = rows.find((row) => row.phase === "Pending" && !known.includes(row.name));
    if (open !== undefined) return open.name;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("no access request was opened within 20 s");
}

/** The first lines of the timeline, and how much more there is. */
function excerpt(text: string): string {
  const lines = text.trimEnd().split("\n");
  const shown = 40;
  return lines.length <= shown
    ? `${lines.join("\n")}\n`
    : `${lines.slice(0, shown).join("\n")}\n  … ${lines.length - shown} more lines\n`;
}
