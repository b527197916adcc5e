// One kept connection to the API server for what tests ask again and again: starting kubectl costs more processor time than most answers.
import { once } from "node:events";
import { Agent, request, type RequestOptions } from "node:https";
import { text } from "node:stream/consumers";
import type { IncomingMessage } from "node:http";
import { after } from "node:test";
import { KubeConfig } from "@kubernetes/client-node";
import { readConfig } from "../cluster/config.ts";

const agent = new Agent({ keepAlive: true });
after(() => agent.destroy());

let known: Promise<RequestOptions> | undefined;

/** The answer's JSON; throws what the API server said, with its status. `timeoutMs` bounds the wait for the whole answer. */
export async function ask(
  method: "GET" | "POST",
  path: string,
  { body, timeoutMs }: { readonly body?: unknown; readonly timeoutMs: number },
): Promise<unknown> {
  known ??= credentials();
  const sent = request({
    ...(await known),
    agent,
    method,
    path,
    headers: { accept: "application/json", "content-type": "application/json" },
    signal: AbortSignal.timeout(timeoutMs),
  });
  sent.end(body === undefined ? undefined : JSON.stringify(body));
  const [answer] = (await once(sent, "response")) as [IncomingMessage];
  const said = await text(answer);
  const status = answer.statusCode ?? 0;
  if (status < 200 || status > 299) throw new Error(`${method} ${path}: ${status}: ${said}`);
  return JSON.parse(said);
}

async function credentials(): Promise<RequestOptions> {
  const config = new KubeConfig();
  config.loadFromFile(readConfig().kubeconfig);
  const { hostname, port } = new URL(String(config.getCurrentCluster()?.server));
  const options: RequestOptions = { hostname, port };
  await config.applyToHTTPSOptions(options);
  return options;
}

const groups = {
  core: "/api/v1",
  apps: "/apis/apps/v1",
  chaperone: "/apis/chaperone.dev/v1alpha1",
} as const;

/** By what the tests call them, in either number. */
const resources: Readonly<Record<string, keyof typeof groups>> = {
  pods: "core",
  services: "core",
  events: "core",
  serviceaccounts: "core",
  deployments: "apps",
  connections: "chaperone",
  accesspolicies: "chaperone",
  accessrequests: "chaperone",
  quarantines: "chaperone",
};

/** Where objects of a kind live, `pod` as well as `pods`. */
export function collectionPath(namespace: string, resource: string): string {
  const plural = [resource, `${resource}s`, resource.replace(/y$/, "ies")].find(
    (name) => resources[name] !== undefined,
  );
  const group = resources[plural ?? ""];
  if (plural === undefined || group === undefined)
    throw new Error(`${resource} is not in the tests' table of resources`);
  return `${groups[group]}/namespaces/${namespace}/${plural}`;
}
