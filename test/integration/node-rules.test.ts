// Rules that a node loads: its plugin as the runtime calls it, its agent, its list of plugins, and a pod's network, all of them real.
import assert from "node:assert/strict";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";

import fc from "fast-check";

import { rulesAsked } from "../../contract/redirect.ts";
import { apiServer, lacking, list, Node, until } from "./node-world.ts";
import { agentUid, named, PodNetwork, proxyUid, world } from "./redirect-network.ts";

const skip = (await lacking()) ?? false;

const prevResult = {
  cniVersion: "0.4.0",
  interfaces: [{ name: "eth0", sandbox: '/run/netns/"x"\\' }],
  ips: [{ version: "4", address: "10.77.0.2/24", gateway: "10.77.0.1" }],
  dns: {},
};
const args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=agents;K8S_POD_NAME=agent-1";
const ours = { "chaperone.dev/rules": rulesAsked(proxyUid, "tcp:15020") };

/** As libcni writes it for a plugin of a list. */
function config(annotations: unknown, changes: object = {}): object {
  return {
    capabilities: { "io.kubernetes.cri.pod-annotations": true },
    cniVersion: "0.4.0",
    name: "pods",
    prevResult,
    runtimeConfig: { "io.kubernetes.cri.pod-annotations": annotations },
    type: "chaperone",
    ...changes,
  };
}

async function node(
  t: TestContext,
  files: Readonly<Record<string, string>> = { "10-pods.conflist": list },
) {
  const api = await apiServer(t);
  return { api, node: await Node.create(t, files, api) };
}

function tried(network: PodNetwork, ways: readonly string[]): string[] {
  const { stdout, stderr, status } = network.run(
    "pod",
    agentUid,
    "test/integration/redirect-agent.ts",
    ways,
  );
  assert.equal(status, 0, stderr);
  return stdout.trim().split("\n");
}

const waysOut = [
  `tcp|${world.v4}|80`,
  "tcp|169.254.169.254|80",
  `tcp|${world.v6}|6443`,
  `udp|${world.v4}|9`,
  "icmp|1.1.1.1",
];
const open = ["the world", "the world", "the world", "an echo", "sent"];

test(
  "a pod that asks has the rules before anything of it runs, and every way out is closed",
  { skip },
  async (t) => {
    const { node: here } = await node(t);
    await here.start();
    const network = await PodNetwork.create(t);
    await network.start("world", 0, "test/integration/redirect-world.ts");
    const file = network.named(t, "chaperone-pod-1");
    const env = { CNI_NETNS: file, CNI_ARGS: args };
    assert.deepEqual(tried(network, waysOut), open);
    const unguarded = here.call("CHECK", config(ours), env);
    assert.match(
      String(Object(unguarded.json).msg),
      /agents\/agent-1 .*No such file|does not exist/,
    );
    const added = here.call("ADD", config(ours), env);
    assert.equal(added.status, 0, added.stdout);
    assert.deepEqual(added.json, prevResult);
    await network.start("pod", proxyUid, "test/integration/redirect-proxy.ts", [world.v4]);
    assert.deepEqual(tried(network, waysOut), [
      "ECONNRESET",
      "ECONNRESET",
      "ECONNRESET",
      "EPERM",
      "refused",
    ]);
    // What stands there is what chaperone-init would have loaded.
    const init = network.run("pod", 0, "proxy/redirect/init.ts", [], {
      CHAPERONE_PROXY_UID: String(proxyUid),
      CHAPERONE_INBOUND: "tcp:15020",
    });
    assert.equal(init.status, 0, init.stderr);
    const checked = here.call("CHECK", config(ours), env);
    assert.deepEqual([checked.status, checked.stdout], [0, ""]);
    const other = { "chaperone.dev/rules": rulesAsked(proxyUid, "tcp:15020,udp:53") };
    assert.match(
      String(Object(here.call("CHECK", config(other), env).json).msg),
      /read back are not ours/,
    );
  },
);

test(
  "other pods pass by untouched and unasked, with the agent, without it, and where it never was",
  { skip },
  async (t) => {
    const { node: here } = await node(t);
    await here.start();
    const network = await PodNetwork.create(t);
    await network.start("world", 0, "test/integration/redirect-world.ts");
    const env = { CNI_NETNS: network.named(t, "chaperone-pod-2"), CNI_ARGS: args };
    const others = [
      config({}),
      config(null),
      config({
        "kubectl.kubernetes.io/last-applied-configuration": JSON.stringify({ a: ours }),
        x: "chaperone.dev/rules",
      }),
      config({}, { runtimeConfig: undefined }),
    ];
    const pass = (): void => {
      for (const other of others) {
        const added = here.call("ADD", other, env);
        assert.equal(added.status, 0, added.stdout);
        assert.deepEqual(added.json, prevResult);
        for (const command of ["CHECK", "DEL"])
          assert.deepEqual(
            [here.call(command, other, env).status, here.call(command, other, env).stdout],
            [0, ""],
          );
      }
    };
    pass();
    await here.kill();
    pass();
    rmSync(here.mailbox, { recursive: true });
    pass();
    assert.deepEqual(tried(network, waysOut), open);
  },
);

test(
  "any result of the plugins before comes out as it came in, whatever else a configuration and its annotations hold",
  { skip },
  async (t) => {
    const { node: here } = await node(t);
    await here.start();
    const object = fc.dictionary(fc.string({ unit: "binary" }), fc.jsonValue());
    const indent = fc.constantFrom(undefined, 2, "\t");
    fc.assert(
      fc.property(
        object,
        object,
        fc.dictionary(fc.string(), fc.string()),
        indent,
        (result, others, annotations, space) => {
          const text = JSON.stringify(
            { ...others, ...config(annotations, { prevResult: result }) },
            null,
            space,
          );
          const { status, stdout, json } = here.call("ADD", text);
          assert.equal(status, 0, stdout);
          assert.deepEqual(json, JSON.parse(JSON.stringify(result)));
        },
      ),
      { numRuns: 60 },
    );
  },
);

test(
  "without the agent a pod that asks does not start, and the runtime is told which pod, why and what to look at",
  { skip },
  async (t) => {
    const { node: here } = await node(t);
    await here.start();
    await here.kill();
    const network = await PodNetwork.create(t);
    const env = { CNI_NETNS: network.named(t, "chaperone-pod-3"), CNI_ARGS: args };
    const started = performance.now();
    const waited = await here.callLater("ADD", config(ours), env);
    t.diagnostic(`gave up after ${Math.round(performance.now() - started)} ms`);
    assert.equal(waited.status, 1);
    assert.deepEqual([Object(waited.json).cniVersion, Object(waited.json).code], ["0.4.0", 11]);
    assert.match(
      String(Object(waited.json).msg),
      /DaemonSet chaperone-node\) does not answer .*agents\/agent-1/,
    );
    rmSync(here.mailbox, { recursive: true });
    const never = here.call("ADD", config(ours), env);
    assert.equal(never.status, 1);
    assert.match(String(Object(never.json).msg), /has not run on this node since it started/);
    assert.equal(here.call("DEL", config(ours), env).status, 0);
  },
);

test(
  "an agent that comes back in time loads the rules of a pod that waits for it",
  { skip },
  async (t) => {
    const { node: here } = await node(t);
    await here.start();
    await here.kill();
    const network = await PodNetwork.create(t);
    const env = { CNI_NETNS: network.named(t, "chaperone-pod-4"), CNI_ARGS: args };
    const waiting = here.callLater("ADD", config(ours), env);
    await here.start();
    const added = await waiting;
    assert.equal(added.status, 0, added.stdout);
    assert.deepEqual(added.json, prevResult);
    assert.equal(here.call("CHECK", config(ours), env).status, 0);
  },
);

test(
  "what is no pod's network, and no request of injection's, is refused with its reason, and nothing is loaded",
  { skip },
  async (t) => {
    const { node: here } = await node(t);
    await here.start();
    const network = await PodNetwork.create(t);
    const file = network.named(t, "chaperone-pod-5");
    writeFileSync("/run/netns/chaperone-no-namespace", "");
    t.after(() => rmSync("/run/netns/chaperone-no-namespace", { force: true }));
    const wrong = [
      ["/proc/1/ns/net", config(ours), /not in \/run\/netns: set the chart's node\.netnsDirectory/],
      ["/run/netns/chaperone-none", config(ours), /not to be seen by the agent/],
      ["/run/netns/chaperone-no-namespace", config(ours), /has to be a shared mount/],
      [
        file,
        config({ "chaperone.dev/rules": rulesAsked(0, "") }),
        /not the number of a user other than root/,
      ],
      [file, config({ "chaperone.dev/rules": "x" }), /is not what injection writes/],
    ] as const;
    for (const [namespace, asked, why] of wrong) {
      const added = here.call("ADD", asked, { CNI_NETNS: namespace, CNI_ARGS: args });
      assert.equal(added.status, 1);
      assert.equal(Object(added.json).code, 100);
      assert.match(String(Object(added.json).msg), why);
    }
    const lonely = here.call("ADD", config(ours, { prevResult: undefined }), { CNI_NETNS: file });
    assert.deepEqual([lonely.status, Object(lonely.json).code], [1, 7]);
    const id = here.call("ADD", config(ours), { CNI_NETNS: file, CNI_CONTAINERID: "../x" });
    assert.deepEqual([id.status, Object(id.json).code], [1, 4]);
  },
);

test("the agent never loads rules into the network of the node itself", { skip }, async (t) => {
  const { node: here } = await node(t);
  await here.start();
  const file = named(t, process.pid, "chaperone-host");
  const added = here.call("ADD", config(ours), { CNI_NETNS: file, CNI_ARGS: args });
  assert.match(String(Object(added.json).msg), /is the node's own/);
});

test(
  "commands of the specification: VERSION, STATUS, GC, and what is none",
  { skip },
  async (t) => {
    const { node: here } = await node(t);
    await here.start();
    assert.deepEqual(here.call("VERSION", { cniVersion: "1.0.0" }).json, {
      cniVersion: "1.0.0",
      supportedVersions: ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    });
    for (const command of ["STATUS", "GC", "DEL"]) {
      const { status, stdout } = here.call(
        command,
        config({}, { prevResult: undefined, cniVersion: "1.1.0" }),
      );
      assert.deepEqual([status, stdout], [0, ""]);
    }
    const none = here.call("MAGIC", {});
    assert.deepEqual([none.status, Object(none.json).code], [1, 4]);
  },
);

test(
  "the agent keeps its plugin in the list, whatever is written over it; a restart leaves it there, and the end of the DaemonSet takes it out byte for byte",
  { skip },
  async (t) => {
    const { api, node: here } = await node(t);
    await here.start();
    const chained = (): boolean => here.read("10-pods.conflist").includes('"type":"chaperone"');
    assert.ok(chained());
    const other = list.replace("ptp", "calico");
    writeFileSync(join(here.conf, "10-pods.conflist"), other);
    await until("the plugin to be back in the list", chained);
    rmSync(join(here.plugins, "chaperone"));
    rmSync(join(here.plugins, "busybox-chaperone"));
    await until("the plugin's files to be back", () => existsSync(join(here.plugins, "chaperone")));
    await here.stop();
    assert.ok(chained(), "a restart");
    assert.equal(existsSync(join(here.mailbox, "ready")), false);
    assert.deepEqual(api.asked, [
      "GET /apis/apps/v1/namespaces/chaperone-system/daemonsets/chaperone-node Bearer agent-token",
    ]);
    await here.start();
    api.answer.status = 500;
    await here.stop();
    assert.ok(chained(), "an API server that fails");
    await here.start();
    api.answer.status = 404;
    await here.stop();
    assert.equal(here.read("10-pods.conflist"), other);
    // A runtime that remembers an older list still finds what it names.
    assert.equal(here.call("DEL", config(ours)).status, 0);
  },
);

test(
  "a node that has no network yet is waited for, and not ready meanwhile",
  { skip },
  async (t) => {
    const { node: here } = await node(t, {});
    const starting = here.start();
    await until("it to be said", () =>
      here.lines.some((line) => line.includes("has to be installed first")),
    );
    assert.equal(existsSync(join(here.mailbox, "ready")), false);
    writeFileSync(join(here.conf, "10-pods.conflist"), list);
    await starting;
    assert.match(here.read("10-pods.conflist"), /"type":"chaperone"/);
  },
);
