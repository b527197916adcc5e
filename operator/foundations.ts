// What must stand before anything is served: a way to the API server, the rights there, and what our Secrets and our volume keep.
import type { Logger } from "pino";
import { openReader, type OpenReader } from "./audit/reader.ts";
import { openStore, type AuditStore } from "./audit/store.ts";
import { serviceNames, type OperatorConfig } from "./config.ts";
import { SigningKeys } from "./grants/keys.ts";
import { missingRights } from "./kube/access.ts";
import { KubeClient } from "./kube/client.ts";
import { kubeConnection } from "./kube/kube-config.ts";
import { neededRights } from "./kube/rights.ts";
import { Certificates } from "./pki/certificates.ts";
import { keySecretStore } from "./pki/key-secret.ts";
import { NamedSecret } from "./pki/named-secret.ts";

/** Things to close, last first. */
export type Closers = (() => Promise<unknown>)[];

export interface Foundations {
  readonly client: KubeClient;
  /** URL of the API server. */
  readonly server: string;
  readonly certificates: Certificates;
  readonly keys: SigningKeys;
  readonly store: AuditStore;
  readonly reader: OpenReader;
}

/** The API server, the Secrets and the store answer in milliseconds, or something is wrong that waiting does not mend. */
export const openTimeoutMs = 30_000;

export async function layFoundations(
  config: OperatorConfig,
  version: string,
  logger: Logger,
  closers: Closers,
): Promise<Foundations> {
  const now = Date.now;
  const opening = AbortSignal.timeout(openTimeoutMs);
  const { transport } = kubeConnection(config.kubeconfig, now);
  const client = new KubeClient(transport, `chaperone-operator/${version}`);
  closers.push(() => client.close());
  await checkRights(client, config, opening);
  const certificates = await Certificates.open(
    {
      secret: new NamedSecret(client, config.namespace, config.authoritySecret),
      names: serviceNames(config),
      now,
      onProblem: (error) =>
        logger.error({ event: "certificates-check-failed", error: messageOf(error) }),
    },
    opening,
  );
  closers.push(() => certificates.close());
  const keySecret = new NamedSecret(client, config.namespace, config.keysSecret);
  const keys = await SigningKeys.open({ store: keySecretStore(keySecret), now }, opening);
  const store = await openStore(config.auditStore);
  closers.push(() => store.close());
  // Its own connection: a long question must not hold up what proxies send.
  const reader = await openReader(config.auditStore);
  closers.push(() => reader.close());
  return { client, server: transport.server, certificates, keys, store, reader };
}

/** Says at once, and by name, what we may not do and must. */
async function checkRights(
  client: KubeClient,
  config: OperatorConfig,
  signal: AbortSignal,
): Promise<void> {
  const lacking = await missingRights(client, neededRights(config), signal);
  if (lacking.length > 0) {
    throw new Error(
      `RBAC does not let the operator ${lacking.join(", ")}; install the chart's roles (helm upgrade), or bind them to its service account`,
    );
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
