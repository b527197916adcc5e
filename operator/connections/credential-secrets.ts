// The Secrets of a Connection that open something: they are for the proxy alone. A CA is public.
import type { Connection } from "../../crds/types.gen.ts";

/** Names, in the Connection's own namespace. */
export function credentialSecretsOf({ spec }: Pick<Connection, "spec">): readonly string[] {
  return [
    spec.credential?.static?.secretRef.name,
    spec.credential?.postgresRole?.adminSecretRef.name,
    spec.credential?.oauth2?.secretRef.name,
    spec.credential?.awsSigV4?.secretRef.name,
    spec.endpoint.tls?.clientCertificateSecretRef?.name,
  ].flatMap((name) => name ?? []);
}
