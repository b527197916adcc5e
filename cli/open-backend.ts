// Chooses where a state command works: a laptop's state directory, or the cluster of the current kubeconfig.
import type { Backend } from "./backend.ts";

export interface BackendOptions {
  readonly state?: string;
  readonly cluster?: boolean;
  readonly context?: string;
  readonly chaperoneNamespace?: string;
}

export async function openBackend(
  options: BackendOptions,
  env: NodeJS.ProcessEnv,
): Promise<Backend> {
  if (options.cluster === true) {
    const { openClusterBackend } = await import("./cluster/backend.ts");
    return openClusterBackend({
      context: options.context,
      namespace: options.chaperoneNamespace ?? "chaperone-system",
      env,
    });
  }
  const { openLocalBackend } = await import("./dev/backend.ts");
  return openLocalBackend(options.state ?? ".chaperone");
}
