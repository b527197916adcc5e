import assert from "node:assert/strict";
import { test } from "node:test";
import type { Decision } from "../policy/decision.ts";
import type { Operation } from "../policy/operation.ts";
import { createMetrics } from "./metrics.ts";

const sources = {
  sessions: () => [{ connection: "agents/orders-db", open: 2 }],
  unshipped: () => 3,
  oldestUnshippedMs: () => 1_500,
  spoolBytes: () => 4_096,
  budgets: () => [{ connection: "agents/openai", budget: "tokensPerDay", free: 512 }],
  viewAgeMs: () => 250,
  grants: () => 1,
};
const operation: Operation = {
  kind: "http",
  summary: "GET api.example/v1",
  accesses: [],
  facts: { method: "GET", host: "api.example", path: "/v1", query: {}, contentType: "" },
};

function decision(verdict: Decision["verdict"]): Decision {
  return {
    verdict,
    policy: "agents/p",
    rule: "r",
    reason: "RuleMatched",
    message: "",
    mode: "Enforce",
  };
}

test("operations are counted by connection, kind, verdict and reason, however often they are read", async () => {
  const metrics = createMetrics(sources);
  metrics.decided("agents/orders", decision("allow"), operation);
  metrics.decided("agents/orders", decision("allow"), operation);
  metrics.decided("agents/orders", decision("deny"), operation);
  const counted = /^chaperone_operations_total\{(.*)\} (\d+)$/gm;
  const expected = [
    ['connection="agents/orders",kind="http",verdict="allow",reason="RuleMatched"', "2"],
    ['connection="agents/orders",kind="http",verdict="deny",reason="RuleMatched"', "1"],
  ];
  for (const _ of [1, 2]) {
    const text = await metrics.text();
    assert.deepEqual(
      [...text.matchAll(counted)].map(([, labels, count]) => [labels, count]),
      expected,
    );
  }
});

test("one decision about two connections, or two kinds of operation, is counted for each", async () => {
  const metrics = createMetrics(sources);
  const allow = decision("allow");
  const tunnel: Operation = { ...operation, kind: "passthrough", facts: { host: "a", port: 1 } };
  for (const connection of ["agents/a", "agents/b", "agents/a", "agents/a"])
    metrics.decided(connection, allow, operation);
  metrics.decided("agents/a", allow, tunnel);
  metrics.decided("agents/a", allow, operation);
  const text = await metrics.text();
  const count = (connection: string, kind: string): string | undefined =>
    new RegExp(
      `^chaperone_operations_total\\{connection="${connection}",kind="${kind}",.*\\} (\\d+)$`,
      "m",
    ).exec(text)?.[1];
  assert.equal(count("agents/a", "http"), "4");
  assert.equal(count("agents/b", "http"), "1");
  assert.equal(count("agents/a", "passthrough"), "1");
});

test("the spool, the sessions and the process are told as they are when asked", async () => {
  const text = await createMetrics(sources).text();
  assert.match(text, /^chaperone_sessions_open\{connection="agents\/orders-db"\} 2$/m);
  assert.match(text, /^chaperone_events_unshipped 3$/m);
  assert.match(text, /^chaperone_events_oldest_unshipped_seconds 1\.5$/m);
  assert.match(text, /^chaperone_proxy_process_cpu_seconds_total \d+(\.\d+)?$/m);
  assert.match(text, /^chaperone_proxy_process_resident_memory_bytes \d{7,}$/m);
});
