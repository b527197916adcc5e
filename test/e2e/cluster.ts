// The cluster under test, as the tests speak to it: objects in, answers out, every wait bounded.
import { randomBytes } from "node:crypto";
import type { TestContext } from "node:test";
import { command, until } from "../cluster/command.ts";
import { ask, collectionPath, creationPath, type Person } from "./api-server.ts";
import { readConfig } from "../cluster/config.ts";
import { toolPath } from "../cluster/kubectl.ts";

export const config = readConfig();
export const operatorNamespace = "chaperone-system";

/** Starting a pod takes two seconds; a busy machine that starts a hundred takes minutes. */
export const podTimeoutMs = 180_000;

/** What the API server and our controllers do at once, on a busy machine. */
export const soonMs = 30_000;

/** The API server's own limit on a proxied request is far above. */
const callTimeoutMs = 90_000;

export type KubeObject = Readonly<Record<string, unknown>>;

export type { Person } from "./api-server.ts";

export interface CallOptions {
  readonly input?: string;
  readonly as?: Person;
  readonly timeoutMs?: number;
}

export async function kubectl(args: readonly string[], options: CallOptions = {}): Promise<string> {
  const { as, input, timeoutMs = callTimeoutMs } = options;
  const identity =
    as === undefined
      ? []
      : ["--as", as.user, ...(as.groups ?? []).flatMap((group) => ["--as-group", group])];
  return await command(
    toolPath(config, "kubectl"),
    ["--kubeconfig", config.kubeconfig, ...identity, ...args],
    { timeoutMs, ...(input === undefined ? {} : { input }) },
  );
}

export async function apply(...objects: readonly KubeObject[]): Promise<string> {
  return await kubectl(["apply", "-f", "-"], { input: listOf(objects) });
}

export interface CreateOptions {
  readonly as?: Person;
}

export async function create(object: KubeObject, { as }: CreateOptions = {}): Promise<unknown> {
  return await ask("POST", creationPath(object, false), {
    body: object,
    as,
    timeoutMs: callTimeoutMs,
  });
}

/** False when somebody else was faster. */
export async function created(object: KubeObject): Promise<boolean> {
  try {
    await create(object);
    return true;
  } catch (error) {
    if (String(error).includes("AlreadyExists")) return false;
    throw error;
  }
}

/** What the API server would make of it; nothing is stored. */
export async function dryRun(object: KubeObject, { as }: CreateOptions = {}): Promise<unknown> {
  return await ask("POST", creationPath(object, true), {
    body: object,
    as,
    timeoutMs: callTimeoutMs,
  });
}

/** What the refusal says; a call that goes through fails the test. */
export async function refusedBy(call: Promise<unknown>): Promise<string> {
  const answer = await call.then(
    (value) => ({ value }),
    (error: unknown) => ({ error: error instanceof Error ? error.message : String(error) }),
  );
  if ("error" in answer) return answer.error;
  throw new Error(`was not refused: ${JSON.stringify(answer.value)?.slice(0, 500)}`);
}

export async function get(namespace: string, resource: string, name: string): Promise<KubeObject> {
  const path = `${collectionPath(namespace, resource)}/${name}`;
  return (await ask("GET", path, { timeoutMs: callTimeoutMs })) as KubeObject;
}

export async function list(
  namespace: string,
  resource: string,
  selector = "",
): Promise<readonly KubeObject[]> {
  const query = selector === "" ? "" : `?labelSelector=${encodeURIComponent(selector)}`;
  const path = `${collectionPath(namespace, resource)}${query}`;
  const found = await ask("GET", path, { timeoutMs: callTimeoutMs });
  return (found as { readonly items: readonly KubeObject[] }).items;
}

export async function remove(namespace: string, resource: string, name: string): Promise<void> {
  await kubectl(["--namespace", namespace, "delete", resource, name, "--wait=true"], {
    timeoutMs: podTimeoutMs,
  });
}

/** The program's output; a program that fails is an error that carries it. */
export async function exec(
  namespace: string,
  pod: string,
  container: string,
  ...program: readonly string[]
): Promise<string> {
  const args = ["--namespace", namespace, "exec", pod, "--container", container, "--", ...program];
  return await kubectl(args);
}

export async function logs(namespace: string, pod: string, container: string): Promise<string> {
  return await kubectl(["--namespace", namespace, "logs", pod, "--container", container]);
}

export async function ready(namespace: string, pod: string): Promise<void> {
  try {
    await waitFor(namespace, `pod/${pod}`, "condition=Ready");
  } catch (error) {
    const said = await kubectl(["--namespace", namespace, "describe", "pod", pod]).catch(String);
    throw new Error(`pod ${pod} is not ready:\n${said.slice(-3_000)}`, { cause: error });
  }
}

export async function waitFor(namespace: string, what: string, state: string): Promise<void> {
  const limit = `${podTimeoutMs / 1000}s`;
  await kubectl(["--namespace", namespace, "wait", what, `--for=${state}`, `--timeout=${limit}`], {
    timeoutMs: podTimeoutMs + 10_000,
  });
}

/** A namespace for one test, gone after it. `level`: PodSecurity. */
export async function namespaceFor(
  t: TestContext,
  stem: string,
  level: "restricted" | "baseline" | "privileged" = "restricted",
): Promise<string> {
  const name = `e2e-${stem}-${randomBytes(3).toString("hex")}`;
  t.after(async () => {
    if (Object(t).passed !== true) t.diagnostic(await proxyLogs(name));
    await ask("DELETE", `/api/v1/namespaces/${name}`, { timeoutMs: callTimeoutMs });
  });
  await namespaceOf(name, level);
  return name;
}

export async function namespaceOf(
  name: string,
  level: "restricted" | "baseline" | "privileged",
): Promise<void> {
  const labels = { "pod-security.kubernetes.io/enforce": level, "chaperone-e2e": "" };
  await created({ apiVersion: "v1", kind: "Namespace", metadata: { name, labels } });
  await until(
    `the service account of ${name}`,
    soonMs,
    async () => (await get(name, "serviceaccount", "default")) !== undefined,
  );
}

/** What the proxies said last: most failures are explained there. */
async function proxyLogs(namespace: string): Promise<string> {
  const pods = await list(namespace, "pods", "chaperone.dev/inject=true").catch(() => []);
  const said = pods.slice(0, 3).map(async ({ metadata }) => {
    const name = String(Object(metadata).name);
    const args = [
      "--namespace",
      namespace,
      "logs",
      name,
      "--container",
      "chaperone-proxy",
      "--tail",
      "20",
    ];
    const before = await kubectl([...args, "--previous"]).catch(() => "");
    return `${name}:\n${before}${await kubectl(args).catch(String)}`;
  });
  return (await Promise.all(said)).join("\n");
}

export function listOf(objects: readonly KubeObject[]): string {
  return JSON.stringify({ apiVersion: "v1", kind: "List", items: objects });
}
