// Finds the cluster and our credentials as kubectl does. The only place of the command line that loads the Kubernetes client; this folder is
// loaded when a command wants a cluster. By name and not as a whole, so that the bundle is 7 MB and not 21.
import { existsSync } from "node:fs";
import type { RequestOptions } from "node:https";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { KubeConfig } from "@kubernetes/client-node";
import { Failure, WrongUse } from "../exit.ts";

export interface Cluster {
  readonly context: string;
  readonly server: string;
  /** Of the context; what kubectl acts in when no namespace is named. */
  readonly namespace: string;
  /** TLS material and credentials as they are now; an exec plugin may have to run for them. */
  credentials(): Promise<RequestOptions>;
  /** The cluster is reached through a proxy of its own, so only the client's agent knows the way. */
  readonly isProxied: boolean;
}

export function openCluster(wanted: string | undefined, env: NodeJS.ProcessEnv): Cluster {
  const config = load(env);
  if (wanted !== undefined) config.setCurrentContext(wanted);
  const context = config.getCurrentContext() ?? "";
  const found = config.getContextObject(context);
  const cluster = config.getCurrentCluster();
  if (found === null || cluster === null) {
    const known = config.getContexts().map(({ name }) => name);
    const why =
      context === "" ? "the kubeconfig has no current context" : `no context ${context} to use`;
    throw new WrongUse(`${why}; name one with --context (known: ${known.join(", ") || "none"})`);
  }
  return {
    context,
    server: cluster.server.replace(/\/+$/, ""),
    namespace: found.namespace ?? "default",
    isProxied: cluster.proxyUrl !== undefined && cluster.proxyUrl !== "",
    async credentials() {
      const options: RequestOptions = {};
      await config.applyToHTTPSOptions(options);
      return options;
    },
  };
}

function load(env: NodeJS.ProcessEnv): KubeConfig {
  const named = (env.KUBECONFIG ?? "").split(delimiter).filter((file) => file !== "");
  const files = named.length > 0 ? named : [join(env.HOME ?? homedir(), ".kube", "config")];
  const present = files.filter((file) => existsSync(file));
  const [first, ...others] = present;
  if (first === undefined) {
    if (named.length === 0 && env.KUBERNETES_SERVICE_HOST !== undefined) {
      const inPod = new KubeConfig();
      inPod.loadFromCluster();
      return inPod;
    }
    throw new Failure(
      `no kubeconfig: ${files.join(", ")} does not exist; set KUBECONFIG to one, or leave --cluster out to read a local state directory`,
    );
  }
  const config = read(first);
  for (const file of others) merge(config, read(file));
  return config;
}

function read(file: string): KubeConfig {
  const config = new KubeConfig();
  try {
    config.loadFromFile(file);
  } catch (cause) {
    throw new Failure(
      `${file} is no kubeconfig: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  }
  return config;
}

/** The first file to say something wins, as with kubectl; the client's own merge refuses what two files both name. */
function merge(into: KubeConfig, from: KubeConfig): void {
  const known = (list: readonly { readonly name: string }[], name: string): boolean =>
    list.some((one) => one.name === name);
  for (const cluster of from.getClusters())
    if (!known(into.getClusters(), cluster.name)) into.addCluster(cluster);
  for (const user of from.getUsers()) if (!known(into.getUsers(), user.name)) into.addUser(user);
  for (const context of from.getContexts())
    if (!known(into.getContexts(), context.name)) into.addContext(context);
  if ((into.getCurrentContext() ?? "") === "") into.setCurrentContext(from.getCurrentContext());
}
