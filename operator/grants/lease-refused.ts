// Why a lease could not be had: one reason a condition and a refused grant share. Messages name Secrets and their keys, never a value.
export type LeaseRefusal =
  | "SecretNotFound"
  | "SecretKeyNotFound"
  | "SecretValueUnusable"
  | "CredentialUnusable"
  // Of `oauth2` alone:
  | "TokenEndpointUnreachable"
  | "TokenEndpointUntrusted"
  | "TokenRefused"
  | "TokenUnusable"
  // Of `postgresRole` alone:
  | "DatabaseUnreachable"
  | "DatabaseUntrusted"
  | "AdminRefused"
  | "AdminNotAble"
  | "RoleNotMade"
  | "TooManyLeases";

export class LeaseRefused extends Error {
  readonly reason: LeaseRefusal;
  /** True: nothing was said against the grant, so what is held may live to its end. */
  readonly temporary: boolean;

  constructor(
    reason: LeaseRefusal,
    message: string,
    options?: { cause?: unknown; temporary?: boolean },
  ) {
    super(message, options);
    this.name = "LeaseRefused";
    this.reason = reason;
    this.temporary = options?.temporary ?? false;
  }
}
