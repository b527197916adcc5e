import assert from "node:assert/strict";
import { test } from "node:test";

import type { EventBody } from "../contract/event.ts";
import { ProxyError } from "./errors.ts";
import { Refused } from "./refused.ts";
import { tellAgainMs } from "./unknown-hosts.ts";

const subject = { namespace: "agents", serviceAccount: "agent", pod: "pod", podUid: "uid" };

function start() {
  const bodies: EventBody[] = [];
  let now = 1_000_000;
  const refused = new Refused({
    subject,
    now: () => now,
    recorder: {
      full: () => false,
      room: async () => {},
      append: (_type, body) => ({ seq: bodies.push(body) }),
      appendDurably: async (_type, body) => ({ seq: bodies.push(body) }),
    },
  });
  return {
    bodies,
    refused,
    pass: (ms: number) => (now += ms),
    refuse: (host: string, port = 443) => {
      const target = { host, port, scheme: "https" as const };
      refused.note(
        new ProxyError("HostUnknown", `no Connection names ${host}:${port}`, { target }),
      );
    },
  };
}

test("the first refusal of a place is told at once, with host, port and scheme", () => {
  const { bodies, refuse } = start();
  refuse("github.com");
  assert.deepEqual(bodies, [
    {
      subject,
      target: { host: "github.com", port: 443, scheme: "https", count: 1 },
      error: { code: "HostUnknown", message: "no Connection names github.com:443" },
    },
  ]);
});

test("an agent that asks for one place again and again writes one event in ten minutes, and none is lost", () => {
  const { bodies, refused, refuse, pass } = start();
  for (let times = 0; times < 5_000; times++) refuse("github.com");
  assert.equal(bodies.length, 1);
  pass(tellAgainMs);
  refuse("github.com");
  assert.deepEqual(
    bodies.map(({ target }) => target?.count),
    [1, 5_000],
  );
  refuse("github.com");
  refused.close();
  assert.deepEqual(
    bodies.map(({ target }) => target?.count),
    [1, 5_000, 1],
  );
});

test("an agent that asks for a new place each time is held to the rate of refusals, and each one is counted", () => {
  const { bodies, refused, refuse, pass } = start();
  for (let times = 0; times < 2_000; times++) refuse(`host-${times}.example`);
  assert.equal(bodies.length, 60);
  pass(10 * tellAgainMs);
  refused.close();
  const told = bodies.reduce((sum, { target }) => sum + (target?.count ?? 0), 0);
  const more = bodies.reduce(
    (sum, { error }) => sum + Number(/\(and (\d+) more/.exec(error?.message ?? "")?.[1] ?? 0),
    0,
  );
  assert.equal(told + more, 2_000);
  assert.ok(bodies.length <= 121, `${bodies.length} events`);
});
