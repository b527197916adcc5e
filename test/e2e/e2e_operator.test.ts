// The operator away, restarted and back: what lives on, what is refused, and that no event is lost.
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../cluster/command.ts";
import { kubectl, operatorNamespace, podTimeoutMs, soonMs } from "./cluster.ts";
import { operatorAway, operatorBack } from "./installation.ts";
import { person, type PersonAtWork } from "./people.ts";
import { endDeadlineMs } from "../../proxy/pipeline.ts";
import { agentPod, agentOf, modelPolicy, ordersPolicy, worldFor } from "./world.ts";
import { create, ready } from "./cluster.ts";

interface Event {
  readonly stream: string;
  readonly seq: number;
  readonly type: string;
  readonly operation?: { readonly summary?: string };
}

/** The shortest a policy may ask for. */
const shortTtlMs = 60_000;

interface Ended {
  readonly endedAt?: number;
  readonly error?: string;
}

/** So many statements are sent while the operator restarts. */
const statements = 200;

async function eventsOf(auditor: PersonAtWork): Promise<readonly Event[]> {
  const said = await auditor.chaperone("events", "--limit", "1000", "-o", "json");
  return said
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Event);
}

test("the operator restarted under traffic: connections live on, and no event is lost or doubled", async (t) => {
  const world = await worldFor(t, "restart");
  const auditor = await person(t, world.namespace, "anna", { roles: ["chaperone-auditor"] });
  await world.sql("SELECT id FROM orders WHERE id = 0");
  const restarted = kubectl([
    "--namespace",
    operatorNamespace,
    "rollout",
    "restart",
    "deployment/chaperone",
  ]);
  for (let id = 1; id <= statements; id += 1)
    assert.equal(
      (await world.sql(`SELECT id, ${id} AS mark FROM orders WHERE id = 1`)).rowCount,
      1,
    );
  await restarted;
  await operatorBack();
  let marks: number[] = [];
  await until("every event to arrive", podTimeoutMs, async () => {
    marks = (await eventsOf(auditor))
      .filter(({ type }) => type === "operation")
      .flatMap(({ operation }) =>
        Number(/, (\d+) AS mark/i.exec(operation?.summary ?? "")?.[1] ?? []),
      )
      .filter((mark) => mark > 0);
    return new Set(marks).size === statements;
  });
  assert.equal(marks.length, statements);
  const events = await eventsOf(auditor);
  const stream = events.find(({ operation }) => operation?.summary?.includes("mark"))?.stream;
  const sequence = events.filter((event) => event.stream === stream).map(({ seq }) => seq);
  assert.deepEqual(
    sequence,
    sequence.map((_, index) => (sequence[0] ?? 0) + index),
  );
});

// One absence shows both: it lasts as long as the short grant, and the long one outlives it.
test("the operator away", async (t) => {
  const policies = [ordersPolicy({ grant: { ttl: "1m" } }), modelPolicy()];
  const [away, outlived] = await Promise.all([
    worldFor(t, "away"),
    worldFor(t, "outlived", { policies }),
  ]);
  await create(agentPod(away.namespace, "fresh"));
  await ready(away.namespace, "fresh");
  const fresh = agentOf(away.namespace, "fresh");
  await away.sql("SELECT 1");
  await outlived.sql("SELECT 1");
  t.after(operatorBack);
  await operatorAway();
  const since = Date.now();

  await t.test(
    "the operator away: open connections go on, a new grant is refused clearly",
    async (st) => {
      assert.equal((await away.sql("SELECT id FROM orders WHERE id = 1")).rowCount, 1);
      const refused = await fresh.refusedSql("SELECT 1");
      assert.match(refused.message, /orders-db/);
      assert.doesNotMatch(refused.message, new RegExp(away.upstreams.password));
      st.diagnostic(refused.message);
    },
  );

  await t.test(
    "the operator away for longer than a grant lives: the connection opened under it ends with it, and nothing passes",
    async (st) => {
      assert.equal((await outlived.sql("SELECT 1")).rowCount, 1);
      let ended: Ended = {};
      while (ended.endedAt === undefined && Date.now() - since < shortTtlMs + 2 * endDeadlineMs)
        ended = (await outlived.order<Ended>("/ended", { waitMs: endDeadlineMs })).done ?? {};
      assert.ok(ended.endedAt !== undefined, "the connection outlived its grant");
      st.diagnostic(
        `ended ${ended.endedAt - since} ms after the operator was gone: ${ended.error}`,
      );
      assert.ok(ended.endedAt - since <= shortTtlMs + endDeadlineMs);
      assert.match(ended.error ?? "", /grant/);
      const refused = await outlived.refusedSql("SELECT 1", { connection: "again" });
      assert.match(refused.message, /orders-db/);
    },
  );

  await t.test("the operator back: everything comes back by itself", async () => {
    await operatorBack();
    await until("the fresh agent to be granted", soonMs, async () => {
      const { done } = await fresh.order("/sql", { text: "SELECT 1" });
      return done !== undefined;
    });
    await until("the outlived agent to be let back", soonMs, async () => {
      const connection = `b${Date.now()}`;
      const { done } = await outlived.order("/sql", { text: "SELECT 1", connection });
      return done !== undefined;
    });
  });
});
