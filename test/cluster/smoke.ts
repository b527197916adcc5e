/** Sees with real pods that the test cluster can do what the product's tests need; prints a line for each, fails at the first that it cannot. */
import assert from "node:assert/strict";
import path from "node:path";
import { readConfig } from "./config.ts";
import { main, reporter, until } from "./command.ts";
import { kubectl } from "./kubectl.ts";

const NAMESPACE = "chaperone-smoke";

/** Starting a pod takes two seconds, pulling its image (kind) up to a minute. */
const POD_TIMEOUT = "180s";
const POD_TIMEOUT_MS = 200_000;

/** Admission policies take effect within seconds of their creation. */
const POLICY_TIMEOUT_MS = 30_000;
const FETCH_TIMEOUT_MS = 5_000;

const config = readConfig();
const report = reporter(process.stdout);
const files = path.join(config.here, "smoke");
const scripts = ["server.ts", "sidecar.ts", "agent.ts"].map(
  (name) => `--from-file=${path.join(files, name)}`,
);

function run(args: readonly string[], input?: string): Promise<string> {
  const options = input === undefined ? {} : { input };
  return kubectl(config, ["--namespace", NAMESPACE, ...args], {
    timeoutMs: POD_TIMEOUT_MS,
    ...options,
  });
}

const privileged = JSON.stringify({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "privileged" },
  spec: {
    containers: [
      { name: "main", image: "node:24-bookworm-slim", securityContext: { privileged: true } },
    ],
  },
});

async function remove(): Promise<void> {
  await kubectl(config, ["delete", "--ignore-not-found", "-f", path.join(files, "policy.yaml")]);
  await run(["delete", "namespace", NAMESPACE, "--ignore-not-found", `--timeout=${POD_TIMEOUT}`]);
}

async function check(): Promise<void> {
  await run(["create", "namespace", NAMESPACE]);
  await run(["label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted"]);
  await run(["create", "configmap", "scripts", ...scripts]);
  await until(
    "the service account",
    POLICY_TIMEOUT_MS,
    async () => (await run(["get", "serviceaccount", "default"])) !== "",
  );

  await run(["apply", "-f", path.join(files, "pods.yaml")]);
  report('PodSecurity "restricted" admits pods that set net.ipv4.ip_unprivileged_port_start');
  await assert.rejects(run(["create", "-f", "-"], privileged), /violates PodSecurity "restricted/);
  report("and refuses a privileged one");

  await run(["wait", "pod/server", "--for=condition=Ready", `--timeout=${POD_TIMEOUT}`]);
  report("a pod runs and is ready");
  const said = await run([
    "get",
    "--raw",
    `/api/v1/namespaces/${NAMESPACE}/services/server:8080/proxy/`,
  ]);
  assert.equal(said, "server");
  report("the API server reaches a pod behind a Service");
  if (config.provider === "local") {
    const address = await run(["get", "service", "server", "-o", "jsonpath={.spec.clusterIP}"]);
    const response = await fetch(`http://${address}:8080/`, {
      signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
    });
    assert.equal(await response.text(), "server");
    report(`the host reaches a Service by its cluster address (${address})`);
  }
  assert.match(await run(["exec", "server", "--", "node", "--version"]), /^v24\./);
  report("kubectl exec runs a program in a pod");

  await run([
    "wait",
    "job/agent",
    "--for=jsonpath={.status.conditions[0].type}",
    `--timeout=${POD_TIMEOUT}`,
  ]);
  const lines = await run(["logs", "job/agent", "--container", "agent"]);
  for (const line of lines.trim().split("\n")) report(`in the pod: ${line}`);
  await run(["wait", "job/agent", "--for=condition=Complete", "--timeout=10s"]);
  report("the job is complete, and its native sidecar has ended with it");
  assert.equal(
    await run(["get", "persistentvolumeclaim", "data", "-o", "jsonpath={.status.phase}"]),
    "Bound",
  );
  report("its claim is bound");

  await run(["apply", "-f", path.join(files, "policy.yaml")]);
  await until("the admission policy to refuse", POLICY_TIMEOUT_MS, async () => {
    const refused = run(["create", "configmap", "forbidden", "--dry-run=server"]);
    return await refused.then(
      () => false,
      (error: unknown) => String(error).includes("this name is forbidden"),
    );
  });
  report("a ValidatingAdmissionPolicy refuses what it forbids");
}

await main(async () => {
  await remove();
  await check();
  await remove();
  await until("the volume to be removed", POLICY_TIMEOUT_MS, async () => {
    const volumes = await kubectl(config, [
      "get",
      "persistentvolumes",
      "-o",
      "jsonpath={.items[*].spec.claimRef.namespace}",
    ]);
    return !volumes.split(" ").includes(NAMESPACE);
  });
  report("namespace and volume are removed");
});
