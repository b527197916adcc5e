// The API server without kubectl between: for tables of hundreds of calls.
import { KubeClient } from "../../operator/kube/client.ts";
import { kubeConnection } from "../../operator/kube/kube-config.ts";
import { config, type KubeObject, type Person } from "./cluster.ts";

/** As long as the slowest admission may take. */
const callTimeoutMs = 30_000;

export interface Api {
  call(
    method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE",
    path: string,
    body?: KubeObject,
    query?: Readonly<Record<string, string>>,
  ): Promise<unknown>;
  close(): Promise<void>;
}

/** `as`: impersonated, as `kubectl --as`. */
export function openApi(as?: Person): Api {
  const { transport } = kubeConnection(config.kubeconfig, Date.now);
  const identity = as === undefined ? {} : { "impersonate-user": as.user };
  const client = new KubeClient(
    {
      server: transport.server,
      async credentials() {
        const { headers, tls } = await transport.credentials();
        return { tls, headers: { ...headers, ...identity } };
      },
    },
    "chaperone-e2e",
  );
  return {
    async call(method, path, body, query = {}) {
      const signal = AbortSignal.timeout(callTimeoutMs);
      return await client.call(
        {
          method,
          path,
          query,
          ...(body === undefined ? {} : { body }),
          ...(method === "PATCH" ? { contentType: "application/merge-patch+json" } : {}),
        },
        signal,
      );
    },
    close: () => client.close(),
  };
}

export const dry = { dryRun: "All" } as const;
