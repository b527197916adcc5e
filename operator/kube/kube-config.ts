// Finds the API server and our credentials the way every Kubernetes client does: from inside a pod, or from a kubeconfig file.
import type { RequestOptions } from "node:https";
import { KubeConfig } from "@kubernetes/client-node";
import type { Credentials, Transport } from "./client.ts";

/** Reading token and CA files anew for every call would be waste; a rotated token is good for minutes before the old one dies. */
const credentialsTtlMs = 10_000;

export interface KubeConnection {
  readonly transport: Transport;
  /** Of the context or of the pod; where the operator itself lives unless it is told otherwise. */
  readonly namespace: string | undefined;
}

/** @param kubeconfig a file; undefined means inside a pod */
export function kubeConnection(kubeconfig: string | undefined, now: () => number): KubeConnection {
  const config = new KubeConfig();
  if (kubeconfig === undefined) config.loadFromCluster();
  else config.loadFromFile(kubeconfig);
  const cluster = config.getCurrentCluster();
  if (cluster === null)
    throw new Error(
      `${kubeconfig ?? "the pod"}: no current cluster; set a current-context in the kubeconfig`,
    );
  let known: { readonly credentials: Credentials; readonly at: number } | undefined;
  return {
    namespace: config.getContextObject(config.getCurrentContext())?.namespace,
    transport: {
      server: cluster.server.replace(/\/+$/, ""),
      async credentials() {
        if (known !== undefined && now() - known.at < credentialsTtlMs) return known.credentials;
        const credentials = await readCredentials(config);
        known = { credentials, at: now() };
        return credentials;
      },
    },
  };
}

async function readCredentials(config: KubeConfig): Promise<Credentials> {
  const options: RequestOptions = {};
  await config.applyToHTTPSOptions(options);
  const { ca, cert, key, servername, rejectUnauthorized, auth } = options;
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {}))
    if (typeof value === "string") headers[name] = value;
  if (typeof auth === "string")
    headers["Authorization"] = `Basic ${Buffer.from(auth).toString("base64")}`;
  const tls = Object.entries({ ca, cert, key, servername, rejectUnauthorized }).filter(
    ([, value]) => value !== undefined,
  );
  return {
    headers,
    tls: Object.fromEntries(
      tls.map(([name, value]) => [name, Buffer.isBuffer(value) ? value.toString("utf8") : value]),
    ),
  };
}
