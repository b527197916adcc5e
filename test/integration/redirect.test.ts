// The rules of a redirected pod in the kernel itself: what gets out without them, and that nothing does with them.
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { agentUid, lacking, pod, PodNetwork, proxyUid, world } from "./redirect-network.ts";

const skip = (await lacking()) ?? false;

interface Guarded {
  readonly inbound?: string;
  readonly families?: readonly (keyof typeof pod)[];
  /** Rules of somebody else's, as nft reads them, that stand before ours or come after. */
  readonly rulesBefore?: string;
  readonly rulesAfter?: string;
}

async function guarded(
  t: TestContext,
  { inbound = "tcp:15020", families = ["v4", "v6"], rulesBefore, rulesAfter }: Guarded = {},
) {
  const network = await PodNetwork.create(t, families);
  const load = (rules: string | undefined): void =>
    rules === undefined ? undefined : network.shell("pod", [`nft -f - <<'END'\n${rules}END`]);
  load(rulesBefore);
  const outside = await network.start("world", 0, "test/integration/redirect-world.ts");
  const loaded = network.run("pod", 0, "proxy/redirect/init.ts", [], {
    CHAPERONE_PROXY_UID: String(proxyUid),
    CHAPERONE_INBOUND: inbound,
  });
  assert.equal(loaded.status, 0, loaded.stderr);
  const proxy = await network.start("pod", proxyUid, "test/integration/redirect-proxy.ts", [
    families.includes("v4") ? world.v4 : world.v6,
  ]);
  load(rulesAfter);
  return { network, outside, proxy };
}

function tried(network: PodNetwork, uid: number, ways: readonly string[]): string[] {
  const { stdout, stderr, status } = network.run(
    "pod",
    uid,
    "test/integration/redirect-agent.ts",
    ways,
  );
  assert.equal(status, 0, stderr);
  return stdout.trim().split("\n");
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let left = 200; left > 0; left -= 1) {
    if (holds()) return;
    await sleep(50);
  }
  assert.fail(what);
}

/** Each gets out of a pod without rules. */
const waysOut = [
  `tcp|${world.v4}|80`,
  "tcp|169.254.169.254|80",
  "tcp|1.1.1.1|443",
  `tcp|${world.v6}|6443`,
  `udp|${world.v4}|9`,
  `udp|${world.v6}|9`,
  "icmp|1.1.1.1",
  `icmp|${world.v6}`,
  "udp|1.1.1.1|53",
  `udp|${world.v6}|53`,
];

test("without the rules, every way out that is tried here is open", { skip }, async (t) => {
  const network = await PodNetwork.create(t);
  await network.start("world", 0, "test/integration/redirect-world.ts");
  assert.deepEqual(tried(network, agentUid, waysOut), [
    "the world",
    "the world",
    "the world",
    "the world",
    "an echo",
    "an echo",
    "sent",
    "sent",
    "a foreign resolver",
    "a foreign resolver",
  ]);
});

test("with them, each is closed to a plain user and to root, and told", { skip }, async (t) => {
  const { network, proxy } = await guarded(t);
  for (const uid of [agentUid, 0]) {
    const outcomes = tried(network, uid, waysOut);
    assert.deepEqual(outcomes.slice(0, 8), [
      "ECONNRESET",
      "ECONNRESET",
      "ECONNRESET",
      "ECONNRESET",
      "EPERM",
      "EPERM",
      "refused",
      "refused",
    ]);
    // Twelve bytes of DNS say that these ten are no query; the world did not see them.
    for (const outcome of outcomes.slice(8)) assert.notEqual(outcome, "a foreign resolver");
  }
  await until("TCP is told", () => proxy.lines.some((line) => line.includes("169.254.169.254:80")));
  await until("packets are told", () =>
    proxy.lines.some((line) => /PacketsRefused.*\d packets were refused .*pings/.test(line)),
  );
});

test(
  "names of Connections lead to them, in both families, whatever resolver is asked",
  { skip },
  async (t) => {
    const { network, proxy } = await guarded(t);
    const [a, aaaa, other, v4, v6, wrongPort] = tried(network, agentUid, [
      "dns|1.1.1.1|db.example|A",
      `dns|${world.v6}|DB.example|AAAA`,
      "dns|1.1.1.1|secret-in-a-name.attacker.example|A",
      "tcp|198.18.64.1|5555",
      "tcp|2001:2::c612:4001|5555",
      "tcp|198.18.64.1|80",
    ]);
    assert.deepEqual(
      [a, aaaa, other, v4, v6, wrongPort],
      [
        "198.18.64.1",
        "2001:2::c612:4001",
        "ENOTFOUND",
        "met db.example:5555",
        "met db.example:5555",
        "ECONNRESET",
      ],
    );
    await until("the name is told", () =>
      proxy.lines.some((line) => line.includes("secret-in-a-name.attacker.example")),
    );
    await until("the port is told", () =>
      proxy.lines.some((line) => line.includes("db.example:80")),
    );
  },
);

test("what is uploaded arrives whole, however soon its sender is gone", { skip }, async (t) => {
  const { network, outside } = await guarded(t);
  const sizes = [104_857_600, ...Array<number>(20).fill(1_572_864), 1];
  tried(
    network,
    agentUid,
    sizes.map((bytes) => `upload|198.18.64.2|5555|${bytes}`),
  );
  await until("every upload ended", () => outside.lines.length > sizes.length);
  assert.deepEqual(
    outside.lines.slice(1).toSorted(),
    sizes.map((bytes) => `uploaded ${bytes}`).toSorted(),
  );
});

test(
  "nobody speaks in a flow that the proxy began: its DNS ports lead nowhere for others",
  { skip },
  async (t) => {
    const { network } = await guarded(t);
    const way = `udp|${world.v4}|9|40001`;
    assert.deepEqual(tried(network, proxyUid, [way]), ["an echo"], "the proxy itself goes out");
    assert.deepEqual(tried(network, agentUid, [way]), ["EPERM"]);
  },
);

test(
  "what keeps a pod from being locked: root that may change its user becomes the proxy's and gets out",
  { skip },
  async (t) => {
    const { network } = await guarded(t);
    const ways = [`tcp|${world.v4}|80`, `udp|${world.v4}|9`];
    assert.deepEqual(tried(network, 0, ways), ["ECONNRESET", "EPERM"]);
    assert.deepEqual(tried(network, proxyUid, ways), ["the world", "an echo"]);
  },
);

test("from outside only declared ports are reached", { skip }, async (t) => {
  const { network } = await guarded(t, { inbound: "tcp:15020,tcp:80" });
  await network.start("pod", agentUid, "test/integration/redirect-server.ts", ["8080"]);
  await network.start("pod", 0, "test/integration/redirect-server.ts", ["80"]);
  const { stdout } = network.run("world", 0, "test/integration/redirect-agent.ts", [
    `tcp|${pod.v4}|80`,
    `tcp|${pod.v4}|8080`,
    `tcp|${pod.v6}|80`,
  ]);
  assert.deepEqual(stdout.trim().split("\n"), ["the pod", "silence", "the pod"]);
});

test(
  "the verifier agrees: it finds the ways open without the rules, and closed with them",
  { skip },
  async (t) => {
    const around = {
      KUBERNETES_SERVICE_HOST: world.v4,
      KUBERNETES_SERVICE_PORT: "6443",
      CHAPERONE_NODE_ADDRESSES: `${world.v4},${world.v6}`,
      CHAPERONE_POD_ADDRESSES: `${pod.v4},${pod.v6}`,
    };
    const open = await PodNetwork.create(t);
    await open.start("world", 0, "test/integration/redirect-world.ts");
    const failed = open.run("pod", 64_536, "proxy/redirect/verify.ts", [], around);
    assert.equal(failed.status, 1);
    for (const way of [
      `TCP to ${world.v4}: it did not end at the proxy`,
      `TCP to ${world.v6}`,
      `TCP to ${world.v4} port 6443: 10 bytes came back`,
      "TCP to 169.254.169.254 port 80",
      `UDP to ${world.v4}: the kernel sent it`,
      `UDP to ${world.v6}`,
      "ICMP to 1.1.1.1: the kernel sent it",
      "DNS over UDP to 1.1.1.1: another resolver answered",
    ])
      assert.ok(failed.stderr.includes(way), `${way} in ${failed.stderr}`);
    const { network } = await guarded(t);
    const held = network.run("pod", 64_536, "proxy/redirect/verify.ts", [], around);
    assert.equal(held.status, 0, held.stderr);
    assert.match(held.stdout, /"verified","attempts":\d\d/);
  },
);

/** What each family alone has to come to; the other has no way out at all. */
const alone = [
  {
    families: ["v4"],
    ways: [
      `tcp|${world.v4}|80`,
      "tcp|169.254.169.254|80",
      `udp|${world.v4}|9`,
      "icmp|1.1.1.1",
      "udp|1.1.1.1|53",
    ],
    resolver: "1.1.1.1",
    answers: ["198.18.64.1", "ENODATA"],
    name: "198.18.64.1",
    other: "2001:2::c612:4001",
    upload: "198.18.64.2",
  },
  {
    families: ["v6"],
    ways: [
      `tcp|${world.v6}|80`,
      `tcp|${world.v6}|6443`,
      `udp|${world.v6}|9`,
      `icmp|${world.v6}`,
      `udp|${world.v6}|53`,
    ],
    resolver: world.v6,
    answers: ["ENODATA", "2001:2::c612:4001"],
    name: "2001:2::c612:4001",
    other: "198.18.64.1",
    upload: "2001:2::c612:4002",
  },
] as const;

for (const { families, ways, resolver, answers, name, other, upload } of alone)
  test(
    `a pod with IP${families[0]} alone meets the same rules, gets answers of that family, and is verified`,
    { skip },
    async (t) => {
      const open = await PodNetwork.create(t, families);
      await open.start("world", 0, "test/integration/redirect-world.ts");
      const free = ["the world", "the world", "an echo", "sent", "a foreign resolver"];
      assert.deepEqual(tried(open, agentUid, ways), free);

      const { network, outside } = await guarded(t, { families, inbound: "tcp:15020,tcp:80" });
      for (const uid of [agentUid, 0]) {
        const [foreign, ...held] = tried(network, uid, ways).toReversed();
        assert.deepEqual(held.toReversed(), ["ECONNRESET", "ECONNRESET", "EPERM", "refused"]);
        assert.notEqual(foreign, "a foreign resolver");
      }
      assert.deepEqual(
        tried(network, agentUid, [
          `dns|${resolver}|db.example|A`,
          `dns|${resolver}|db.example|AAAA`,
          `tcp|${name}|5555`,
          `tcp|${other}|5555`,
        ]),
        [...answers, "met db.example:5555", "ENETUNREACH"],
      );
      const sizes = [20_971_520, ...Array<number>(10).fill(1_572_864), 1];
      tried(
        network,
        agentUid,
        sizes.map((bytes) => `upload|${upload}|5555|${bytes}`),
      );
      await until("every upload ended", () => outside.lines.length > sizes.length);
      assert.deepEqual(
        outside.lines.slice(1).toSorted(),
        sizes.map((bytes) => `uploaded ${bytes}`).toSorted(),
      );
      const [family] = families;
      await network.start("pod", 0, "test/integration/redirect-server.ts", ["80"]);
      await network.start("pod", agentUid, "test/integration/redirect-server.ts", ["8080"]);
      const { stdout } = network.run("world", 0, "test/integration/redirect-agent.ts", [
        `tcp|${pod[family]}|80`,
        `tcp|${pod[family]}|8080`,
      ]);
      assert.deepEqual(stdout.trim().split("\n"), ["the pod", "silence"]);
      const verified = network.run("pod", 64_536, "proxy/redirect/verify.ts", [], {
        KUBERNETES_SERVICE_HOST: world[family],
        KUBERNETES_SERVICE_PORT: "6443",
        CHAPERONE_NODE_ADDRESSES: world[family],
        CHAPERONE_POD_ADDRESSES: pod[family],
      });
      assert.equal(verified.status, 0, verified.stderr);
    },
  );

const meshUid = 1337;

/** As a mesh's init container loads them: its proxy's user goes anywhere, everybody else's connections come to its port. */
const meshRules = `table inet mesh {
  chain output {
    type nat hook output priority -100; policy accept;
    meta skuid ${meshUid} accept
    oifname "lo" accept
    meta l4proto tcp redirect to :4140
  }
  chain filter {
    type filter hook output priority 0; policy accept;
    meta skuid ${meshUid} accept
  }
}
`;

for (const [when, rules] of [
  ["before", { rulesBefore: meshRules }],
  ["after", { rulesAfter: meshRules }],
] as const)
  test(
    `rules of a mesh that are loaded ${when} ours let nobody out, its own proxy's user neither`,
    { skip },
    async (t) => {
      const { network } = await guarded(t, rules);
      const outcomes = tried(network, meshUid, waysOut);
      assert.deepEqual(outcomes.slice(0, 8), [
        ...Array<string>(4).fill("ECONNRESET"),
        "EPERM",
        "EPERM",
        "refused",
        "refused",
      ]);
      assert.deepEqual(tried(network, meshUid, ["tcp|198.18.64.1|5555"]), ["met db.example:5555"]);
      // The agent's come to the mesh's proxy or to ours, and what the mesh's then sends comes to ours.
      await network.start("pod", meshUid, "test/integration/redirect-server.ts", ["4140"]);
      for (const outcome of tried(network, agentUid, waysOut.slice(0, 4)))
        assert.ok(["the pod", "ECONNRESET"].includes(outcome), outcome);
      assert.deepEqual(tried(network, agentUid, waysOut.slice(4, 8)), [
        "EPERM",
        "EPERM",
        "refused",
        "refused",
      ]);
    },
  );
