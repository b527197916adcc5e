import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Quarantine } from "../../crds/types.gen.ts";
import { podIdentity, quarantine } from "../api/fixture.ts";
import { confirmation } from "./confirm.ts";
import { isActive, ordersFor, reach, selects } from "./select.ts";

const pod = podIdentity();
const home = "chaperone-system";

const table: readonly (readonly [
  title: string,
  order: Quarantine,
  expected: ReturnType<typeof reach>,
])[] = [
  ["all, in the pod's namespace", quarantine({ all: true }), "*"],
  [
    "all, in another namespace: what the pod reaches there",
    quarantine({ all: true }, "q", "data"),
    ["data/*"],
  ],
  ["all, in the operator's namespace", quarantine({ all: true }, "q", home), "*"],
  ["the service account", quarantine({ subjects: [{ serviceAccounts: ["invoice-agent"] }] }), "*"],
  [
    "the service account by wildcard",
    quarantine({ subjects: [{ serviceAccounts: ["inv*"] }] }),
    "*",
  ],
  [
    "another service account",
    quarantine({ subjects: [{ serviceAccounts: ["other"] }] }),
    undefined,
  ],
  ["the pod", quarantine({ subjects: [{ pods: ["invoice-7c9d"] }] }), "*"],
  [
    "service account and pod, of which one differs",
    quarantine({ subjects: [{ serviceAccounts: ["invoice-agent"], pods: ["other"] }] }),
    undefined,
  ],
  [
    "any of several subjects",
    quarantine({ subjects: [{ pods: ["other"] }, { pods: ["invoice-*"] }] }),
    "*",
  ],
  [
    "the same name in another namespace",
    quarantine({ subjects: [{ serviceAccounts: ["invoice-agent"] }] }, "q", "data"),
    undefined,
  ],
  [
    "our namespace, named from another one",
    quarantine({ subjects: [{ serviceAccounts: ["agents/invoice-agent"] }] }, "q", "data"),
    undefined,
  ],
  [
    "our namespace, named from the operator's",
    quarantine({ subjects: [{ serviceAccounts: ["agents/invoice-agent"] }] }, "q", home),
    "*",
  ],
  [
    "every namespace, named from the operator's",
    quarantine({ subjects: [{ serviceAccounts: ["*/invoice-agent"] }] }, "q", home),
    "*",
  ],
  [
    "a plain name in the operator's namespace, which reaches every one",
    quarantine({ subjects: [{ pods: ["invoice-*"] }] }, "q", home),
    "*",
  ],
  ["a connection, for everybody", quarantine({ connections: ["orders-db"] }), ["agents/orders-db"]],
  [
    "a connection of another namespace, for everybody there",
    quarantine({ connections: ["shared"] }, "q", "data"),
    ["data/shared"],
  ],
  [
    "a connection for these subjects",
    quarantine({ subjects: [{ pods: ["invoice-*"] }], connections: ["orders-*"] }),
    ["agents/orders-*"],
  ],
  [
    "a connection for other subjects",
    quarantine({ subjects: [{ pods: ["other"] }], connections: ["orders-db"] }),
    undefined,
  ],
  [
    "a foreign connection that it may not name",
    quarantine({ connections: ["data/shared"] }),
    undefined,
  ],
  ["nothing at all, which admission refuses", quarantine({}), undefined],
];

describe("a quarantine", () => {
  for (const [title, order, expected] of table) {
    it(`that names ${title}, reaches ${expected === undefined ? "nothing of the pod" : JSON.stringify(expected)}`, () => {
      assert.deepEqual(reach(order, pod, home), expected);
    });
  }

  it("on a connection cuts off that connection and no other", () => {
    const order = quarantine({ connections: ["orders-*"] });
    assert.equal(selects(order, pod, "agents/orders-db", home), true);
    assert.equal(selects(order, pod, "agents/payroll", home), false);
    assert.equal(selects(order, pod, "data/orders-db", home), false);
    assert.equal(selects(order, pod, undefined, home), false, "the pod as a whole is not cut off");
  });

  it("ends at its until, and not at one that cannot be read", () => {
    const until = "2026-11-20T10:00:00Z";
    const order = quarantine({ all: true, until });
    assert.equal(isActive(order, Date.parse(until) - 1), true);
    assert.equal(isActive(order, Date.parse(until)), false);
    assert.equal(isActive(quarantine({ all: true, until: "next week" }), Date.now()), true);
    assert.deepEqual(ordersFor([order], pod, Date.parse(until), home), []);
  });

  it("reaches nothing beyond its namespace in local mode, where there is no operator's namespace", () => {
    assert.equal(
      reach(quarantine({ subjects: [{ pods: ["*"] }] }, "q", home), pod, undefined),
      undefined,
    );
  });
});

describe("the confirmation of a quarantine", () => {
  const order = quarantine({ connections: ["orders-db"] });
  const view = (activeSessions: number, unusable?: string) => ({
    generation: 1,
    proxyVersion: "0",
    features: [],
    connections: [
      {
        connection: "agents/orders-db",
        bundle: "",
        activeSessions,
        ...(unusable === undefined ? {} : { unusable }),
      },
      { connection: "agents/other", bundle: "", activeSessions: 3 },
    ],
  });
  const cases: readonly (readonly [
    title: string,
    activeSessions: number,
    unusable: string | undefined,
    receivedAt: number,
    confirmed: number,
  ])[] = [
    [
      "a proxy that shows it and has no session left",
      0,
      "Quarantined: quarantine agents/stop …",
      20,
      1,
    ],
    ["a proxy with a session left", 1, "Quarantined: …", 20, 0],
    ["a proxy that does not show it", 0, undefined, 20, 0],
    ["a proxy that cannot use the connection for another reason", 0, "GrantRefused: …", 20, 0],
    ["a view from before", 0, "Quarantined: …", 5, 0],
  ];
  for (const [title, activeSessions, unusable, receivedAt, confirmed] of cases) {
    it(`counts ${title} as ${confirmed}`, () => {
      assert.deepEqual(
        confirmation(order, 10, [{ pod, view: view(activeSessions, unusable), receivedAt }], home),
        { proxies: 1, confirmed, oldestViewAt: receivedAt },
      );
    });
  }

  it("does not count proxies that it does not reach", () => {
    const other = quarantine({ subjects: [{ pods: ["other"] }] });
    assert.deepEqual(confirmation(other, 10, [{ pod, view: view(0), receivedAt: 20 }], home), {
      proxies: 0,
      confirmed: 0,
      oldestViewAt: undefined,
    });
  });
});
