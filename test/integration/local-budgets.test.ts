// Budgets on a laptop: the built program, its state directory, and what is left of a budget after it was started anew.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import OpenAI from "openai";
import type { BudgetRow } from "../../operator/budgets/used.ts";
import { modelPolicyYaml } from "./local-manifests.ts";
import {
  createSystem,
  eventually,
  startServers,
  type Dev,
  type LocalSystem,
  type Servers,
} from "./local-system.ts";

const prices = `apiVersion: v1
kind: ConfigMap
metadata: {name: chaperone-prices, namespace: agents}
data:
  prices.yaml: |
    - {models: ["gpt-5*"], input: 1000, output: 10000}
`;
const limits = "  limits: {tokensPerDay: 2500, costPerDay: 20, requestsPerMinute: 1000}\n";

let servers: Servers;
let system: LocalSystem;

before(async () => {
  servers = await startServers({ models: ["gpt-5-mini"], steps: [{ text: "hello there" }] });
  system = await createSystem(servers.targets);
  await system.write("prices.yaml", prices);
  await system.write("models.yaml", modelPolicyYaml(undefined, limits));
});

after(async () => {
  await system?.close();
  await servers?.close();
});

const ask = async (dev: Dev, most: number): Promise<void> => {
  const client = new OpenAI({ apiKey: dev.openaiKey, baseURL: dev.openaiUrl });
  await client.chat.completions.create({
    model: "gpt-5-mini",
    messages: [{ role: "user", content: "hi" }],
    max_completion_tokens: most,
  });
};

const spentOf = async (budget: string): Promise<number> =>
  (await system.ask<BudgetRow[]>("budgets")).find((row) => row.budget === budget)?.spent ?? 0;

test("counters are shown, and survive an orderly end and a kill of the process", async () => {
  const first = await system.dev();
  await ask(first, 100);
  await first.stop();
  const once = await spentOf("tokensPerDay");
  assert.ok(once > 0 && once < 100, `${once}`);
  const cost = await spentOf("costPerDay");
  assert.ok(cost > once / 1_000 && cost < once / 100, `${cost}`);

  const second = await system.dev();
  await ask(second, 100);
  await eventually(
    "what lies idle was given back",
    async () => {
      const [row] = (await system.ask<BudgetRow[]>("budgets")).filter(
        ({ budget }) => budget === "tokensPerDay",
      );
      return row?.held === 0;
    },
    30_000,
  );
  await second.stop("SIGKILL");
  assert.equal(await spentOf("tokensPerDay"), 2 * once);

  const third = await system.dev();
  await assert.rejects(ask(third, 2_000), {
    code: "BudgetExceeded",
    message: /limits\.costPerDay/,
  });
  await system.write(
    "models.yaml",
    modelPolicyYaml(undefined, limits.replace("costPerDay: 20, ", "")),
  );
  await third.said("manifests reloaded");
  await eventually(
    "the policy without costs is in force",
    async () => {
      try {
        await ask(third, 2_000);
        return true;
      } catch {
        return false;
      }
    },
    30_000,
  );
  const { stdout } = await system.cli(["budgets", "--state", system.state]);
  assert.match(
    stdout,
    /^NAMESPACE +CONNECTION +WORKLOAD +BUDGET +PERIOD +LIMIT +SPENT +HELD +LEFT$/m,
  );
  assert.match(
    stdout,
    /^agents +openai +agents\/invoice-agent +tokensPerDay +\d{4}-\d\d-\d\d +2500 /m,
  );
  await third.stop();
});

test("check names the budgets, and costs without a price table are an error where nothing else can bring one", async () => {
  await system.write("models.yaml", modelPolicyYaml(undefined, limits));
  const good = await system.cli(["check", "-f", system.manifests]);
  assert.equal(good.code, 0, good.stderr);
  assert.match(
    good.stdout,
    /^policy agents\/invoice-agent-models: requestsPerMinute 1000, tokensPerDay 2500, costPerDay 20$/m,
  );
  await system.write("prices.yaml", prices.replace("1000,", "cheap,"));
  const bad = await system.cli(["check", "-f", system.manifests]);
  assert.equal(bad.code, 1);
  assert.match(bad.stderr, /prices\.yaml:\d+: data\["prices\.yaml"\]: entry 0: input is a price/);
  await system.remove("prices.yaml");
  const none = await system.cli(["dev", "-f", system.manifests, "--state", system.state]);
  assert.equal(none.code, 1);
  assert.match(none.stderr, /spec\.limits\.costPerDay: needs the price table: a ConfigMap/);
});
