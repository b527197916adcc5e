import assert from "node:assert/strict";
import { test } from "node:test";
import type { Limits } from "../../policy/bundle.ts";
import type { ProxyError } from "../errors.ts";
import { Execution } from "./execution.ts";
import { Request, RequestQueue } from "./requests.ts";
import { SessionClock } from "./session-clock.ts";
import { understand } from "./understanding.ts";

const select = understand("SELECT 1", {
  operation: {
    kind: "sql",
    summary: "SELECT 1",
    accesses: [{ kind: "statement", statement: "select", basic: true }],
    facts: {
      statements: ["select"],
      relationsRead: [],
      relationsWritten: [],
      columns: [],
      functions: [],
      hasWhere: false,
      count: 1,
    },
  },
});

function running(): Request {
  const request = new Request("query", Buffer.alloc(0), 0, 0);
  request.execution = new Execution(select, select.operation, undefined);
  return request;
}

test("a server that does not end a cancelled statement loses the session", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let now = 0;
  let limits: Limits = {};
  let cancels = 0;
  const ends: ProxyError[] = [];
  const queue = new RequestQueue();
  const watched = {
    queue,
    now: () => now,
    connection: "agents/db",
    over: false,
    stopped: undefined,
  };
  const clock = new SessionClock(watched, {
    limits: () => limits,
    quiet: () => true,
    cancel: () => (cancels += 1),
    finish: (error) => {
      ends.push(error);
      watched.over = true;
    },
  });
  const pass = (milliseconds: number): void => {
    for (let left = milliseconds; left > 0; left -= 50) {
      now += 50;
      t.mock.timers.tick(50);
    }
  };
  clock.start();
  queue.push(running());
  pass(60_000);
  assert.equal(cancels, 0, "without a limit nothing is stopped");
  queue.shift();
  limits = { statementTimeoutSeconds: 2 };
  pass(6_000);
  queue.push(running());
  pass(2_500);
  assert.equal(cancels, 0, "the server comes first");
  pass(2_000);
  assert.equal(cancels, 1);
  pass(3_000);
  assert.deepEqual([cancels, ends.length], [1, 0]);
  pass(3_000);
  assert.equal(ends[0]?.code, "LimitExceeded");
  clock.stop();
});
