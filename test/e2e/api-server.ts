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

export interface Person {
  readonly user: string;
  readonly groups?: readonly string[];
}

export interface Asked {
  readonly body?: unknown;
  /** Impersonated, as with `kubectl --as`. */
  readonly as?: Person | undefined;
  /** Bounds the wait for the whole answer. */
  readonly timeoutMs: number;
}

/** The answer's JSON; throws what the API server said, with its status. */
export async function ask(
  method: "GET" | "POST" | "DELETE",
  path: string,
  { body, as, timeoutMs }: Asked,
): Promise<unknown> {
  known ??= credentials();
  const sent = request({
    ...(await known),
    agent,
    method,
    path,
    headers: {
      accept: "application/json",
      "content-type": "application/json",
      ...(as === undefined ? {} : { "impersonate-user": as.user }),
      ...(as?.groups === undefined ? {} : { "impersonate-group": [...as.groups] }),
    },
    signal: AbortSignal.timeout(timeoutMs),
  });
  sent.end(body === undefined ? undefined : JSON.stringify(body));
  const [answer] = (await once(sent, "response")) as [IncomingMessage];
  const said = await text(answer);
  const status = answer.statusCode ?? 0;
  if (status < 200 || status > 299)
    throw new Error(`${method} ${path}: ${status}: ${messageOf(said)}`);
  return JSON.parse(said);
}

/** Of a `Status`, its reason and what people read; of anything else, all of it. */
function messageOf(said: string): string {
  try {
    const { reason = "", message } = JSON.parse(said) as {
      readonly reason?: string;
      readonly message?: string;
    };
    return message === undefined ? said : `${reason}: ${message}`;
  } catch {
    return said;
  }
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

/** Where an object is created, by its own words; unknown fields are refused, as kubectl has it. */
export function creationPath(object: Readonly<Record<string, unknown>>, isDry: boolean): string {
  const { apiVersion, kind, metadata } = object as {
    readonly apiVersion: string;
    readonly kind: string;
    readonly metadata: { readonly namespace?: string };
  };
  const group = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const { namespace } = metadata;
  const within = namespace === undefined ? "" : `/namespaces/${namespace}`;
  const plural = `${kind.toLowerCase()}s`.replace(/ys$/, "ies");
  return `${group}${within}/${plural}?fieldValidation=Strict${isDry ? "&dryRun=All" : ""}`;
}
