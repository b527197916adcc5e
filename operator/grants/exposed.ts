// Pods that could come by a Connection's credential around their proxy: they get no grant for it. Pure.
import type { Connection } from "../../crds/types.gen.ts";
import { credentialSecretsOf } from "../connections/credential-secrets.ts";
import { connectionName, connectionTarget } from "../connections/endpoint.ts";
import type { PodIdentity } from "../resources.ts";
import { ExchangeRefused } from "./exchange-form.ts";

/** Throws ExchangeRefused. */
export function refuseExposed(pod: PodIdentity, connection: Connection): void {
  const why = heldSecret(pod, connection) ?? misledCredential(pod, connection);
  if (why === undefined) return;
  throw new ExchangeRefused("invalid_target", why.reason, why.message);
}

interface Exposure {
  readonly reason: string;
  readonly message: string;
}

/** Admission looks once; containers added later and Connections made later come by here. Pods name Secrets of their own namespace only. */
function heldSecret(pod: PodIdentity, connection: Connection): Exposure | undefined {
  if (connection.metadata.namespace !== pod.namespace) return undefined;
  const held = credentialSecretsOf(connection).find(
    (secret) => pod.secrets?.includes(secret) === true,
  );
  if (held === undefined) return undefined;
  return {
    reason: "ConnectionSecretHeld",
    message: `pod ${pod.namespace}/${pod.pod} itself reads Secret ${held} of connection ${connectionName(connection)}, which is for its proxy alone: take it out of the pod (ephemeral containers too) and create the pod anew`,
  };
}

/** Without TLS nothing proves the server, so the name server alone says who gets the credential. */
function misledCredential(pod: PodIdentity, connection: Connection): Exposure | undefined {
  if (pod.ownNameServers !== true || !sendsInTheClear(connection)) return undefined;
  return {
    reason: "NameServersNotTrusted",
    message: `pod ${pod.namespace}/${pod.pod} chooses its own name servers (dnsPolicy None or dnsConfig.nameservers), and connection ${connectionName(connection)} sends its credential without TLS to whoever they name: use https, or the cluster's name servers`,
  };
}

/** SCRAM, which PostgreSQL's login is, gives a false server nothing. */
function sendsInTheClear(connection: Connection): boolean {
  const { credential, protocol } = connection.spec;
  return protocol !== "postgres" && credential !== undefined && !connectionTarget(connection).tls;
}
