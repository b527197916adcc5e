import assert from "node:assert/strict";
import { test } from "node:test";

import { candidates, parseResolvConf } from "./resolv-conf.ts";

test("reads what kubelet writes into a pod", () => {
  const conf = parseResolvConf(
    "search agents.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n",
  );
  assert.deepEqual(conf, {
    servers: ["10.96.0.10"],
    search: ["agents.svc.cluster.local", "svc.cluster.local", "cluster.local"],
    ndots: 5,
  });
});

test("comments, other options, a later search line and more servers than glibc takes", () => {
  const conf = parseResolvConf(
    "# made by hand\ndomain old.example\nsearch a.example. b.example ; note\nnameserver 1.1.1.1\nnameserver ::1\nnameserver 3.3.3.3\nnameserver 4.4.4.4\noptions timeout:1 ndots:99 rotate",
  );
  assert.deepEqual(conf, {
    servers: ["1.1.1.1", "::1", "3.3.3.3"],
    search: ["a.example", "b.example"],
    ndots: 15,
  });
});

const pod = { servers: [], search: ["agents.svc.cluster.local", "cluster.local"], ndots: 5 };
const host = { servers: [], search: ["corp.example"], ndots: 1 };

for (const [name, conf, expected] of [
  [
    "orders-db",
    pod,
    ["orders-db.agents.svc.cluster.local", "orders-db.cluster.local", "orders-db"],
  ],
  [
    "api.openai.com",
    pod,
    ["api.openai.com.agents.svc.cluster.local", "api.openai.com.cluster.local", "api.openai.com"],
  ],
  ["api.openai.com.", pod, ["api.openai.com"]],
  [
    "a.b.c.d.e.f",
    pod,
    ["a.b.c.d.e.f", "a.b.c.d.e.f.agents.svc.cluster.local", "a.b.c.d.e.f.cluster.local"],
  ],
  [
    "chaperone.chaperone-system.svc",
    host,
    [
      "chaperone.chaperone-system.svc.cluster.local",
      "chaperone.chaperone-system.svc",
      "chaperone.chaperone-system.svc.corp.example",
    ],
  ],
  [
    "db.data.svc",
    { ...pod, search: ["agents.svc.corp.example", "svc.corp.example"] },
    ["db.data.svc.agents.svc.corp.example", "db.data.svc.svc.corp.example", "db.data.svc"],
  ],
  ["intranet", host, ["intranet.corp.example", "intranet"]],
  ["api.openai.com", host, ["api.openai.com", "api.openai.com.corp.example"]],
] as const) {
  test(`asks for ${name} with ndots ${conf.ndots} in the order of the system's own resolver`, () => {
    assert.deepEqual(candidates(name, conf), expected);
  });
}
