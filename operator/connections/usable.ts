// Whether a Connection's Secrets, and what is fetched with them, can be used: the reason that its status gives is the one a grant would be refused with.
import type { Connection } from "../../crds/types.gen.ts";
import { buildLease, readAdminLogin } from "../grants/lease.ts";
import { LeaseRefused } from "../grants/lease-refused.ts";
import type { SecretReader } from "../grants/secret-value.ts";
import { readTlsSecrets, type TlsSecrets } from "../grants/tls-secrets.ts";
import type { Tokens } from "../tokens/tokens.ts";

export interface Usable {
  /** What could be read of it, for the probe. */
  readonly tls: TlsSecrets;
  /** Undefined when nothing is wrong. */
  readonly problem: { readonly reason: string; readonly message: string } | undefined;
}

export async function usableCredential(
  connection: Connection,
  readSecret: SecretReader,
  tokens: Pick<Tokens, "lease">,
  signal: AbortSignal,
): Promise<Usable> {
  let tls: TlsSecrets = {};
  try {
    tls = await readTlsSecrets(connection, readSecret, signal);
    await buildLease(connection, readSecret, signal);
    await readAdminLogin(connection, readSecret, signal);
    const oauth2 = connection.spec.credential?.oauth2;
    if (oauth2 !== undefined) await tokens.lease(connection, oauth2, readSecret, signal);
    return { tls, problem: undefined };
  } catch (error) {
    if (error instanceof LeaseRefused)
      return { tls, problem: { reason: error.reason, message: error.message } };
    throw error;
  }
}
