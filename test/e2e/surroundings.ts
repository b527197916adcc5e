// What lies outside of a redirected pod, and how its agent tries to get there: each way is open to a pod without the proxy first.
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { until } from "../cluster/command.ts";
import { apply, get, kubectl, namespaceOf, ready, soonMs, type KubeObject } from "./cluster.ts";
import { person } from "./people.ts";
import { asRecord, spec } from "./read.ts";
import { agentOf, agentPod, restricted, type Agent, type World } from "./world.ts";

export const outside = "e2e-outside";

/** Lets every user ping, as newer container runtimes do by themselves. */
export const pinging = {
  sysctls: [{ name: "net.ipv4.ping_group_range", value: "0 2147483647" }],
};

export interface Surroundings {
  readonly free: Agent;
  /** Address of the pod, and of the cluster's resolver. */
  readonly address: string;
  readonly resolver: string;
  readonly ways: readonly KubeObject[];
}

/** A pod without the proxy, and a Service before it: where the guarded ones must not get, and the judge of what is open. */
export async function unguarded(): Promise<Surroundings> {
  await namespaceOf(outside, "privileged");
  const pod = agentPod(outside, "free", {
    serviceAccountName: "default",
    securityContext: { ...restricted, ...pinging },
  });
  const labels = { app: "free" };
  await apply(
    { ...pod, metadata: { name: "free", namespace: outside, labels } },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "free", namespace: outside },
      spec: { selector: labels, ports: [{ port: 80, targetPort: 8000 }] },
    },
  );
  await ready(outside, "free");
  const status = asRecord((await get(outside, "pod", "free"))["status"]);
  const address = String(status["podIP"]);
  const node = String(status["hostIP"]);
  const service = String(spec(await get(outside, "service", "free"))["clusterIP"]);
  const dnsService = await kubectl([
    "--namespace",
    outside,
    "exec",
    "free",
    "--",
    "cat",
    "/etc/resolv.conf",
  ]);
  const [, resolver = ""] = /^nameserver (\S+)/m.exec(dnsService) ?? [];
  const api = String(spec(await get("default", "service", "kubernetes"))["clusterIP"]);
  const text = "GET /env HTTP/1.0\r\n\r\n";
  return {
    free: agentOf(outside, "free"),
    address,
    resolver,
    ways: [
      { way: "tcp", host: service, port: 80, text },
      { way: "tcp", host: address, port: 8000, text },
      { way: "tcp", host: node, port: 10_250, text },
      { way: "tcp", host: api, port: 443, text },
      { way: "udp", host: address, port: 8001 },
      { way: "icmp", host: address },
      { way: "dns", host: resolver, text: "kubernetes.default.svc.cluster.local" },
    ],
  };
}

export async function outcomes(agent: Agent, ways: readonly KubeObject[]): Promise<string[]> {
  const found: string[] = [];
  for (const way of ways) {
    const { done, failed } = await agent.order<string>("/get-out", way);
    found.push(done ?? JSON.stringify(failed));
  }
  return found;
}

async function eventsOf(t: TestContext, namespace: string): Promise<() => Promise<string>> {
  const auditor = await person(t, namespace, "rita", { roles: ["chaperone-auditor"] });
  return () => auditor.chaperone("events", "--limit", "1000", "-o", "json");
}

export async function refusedAndTold(
  t: TestContext,
  world: World,
  { free, ways }: Surroundings,
): Promise<void> {
  const open = await outcomes(free, ways);
  for (const [at, outcome] of open.entries())
    assert.match(
      outcome,
      /^HTTP\/1\.[01] |^an echo$|^sent$|^\d+\.\d+\.\d+\.\d+$/,
      JSON.stringify(ways[at]),
    );
  assert.deepEqual(await outcomes(world, ways), [
    "ECONNRESET",
    "ECONNRESET",
    "ECONNRESET",
    "ECONNRESET",
    "EPERM",
    "refused",
    "ENOTFOUND",
  ]);
  const events = await eventsOf(t, world.namespace);
  const wanted = [
    ...ways
      .slice(0, 4)
      .map(({ host, port }) => `no Connection names ${String(host)}:${String(port)}`),
    "packets were refused",
    "no Connection has the host name kubernetes.default",
  ];
  await until("every refusal to be in the record", soonMs, async () => {
    const said = await events();
    return wanted.every((one) => said.includes(one));
  });
}

/** Of the model that the tests know, by its usual name. */
export const chat = {
  url: "https://api.openai.com/v1/chat/completions",
  init: {
    method: "POST",
    headers: { "content-type": "application/json", authorization: "Bearer anything" },
    body: JSON.stringify({ model: "gpt-5-mini", messages: [{ role: "user", content: "hi" }] }),
  },
};
