// Statements that would undo what a policy holds a database session to: that it only reads, and how long a statement may run.
import type { Bundle } from "./bundle.ts";
import { connectionName } from "./describe.ts";
import type { Operation } from "./operation.ts";

export interface SessionRefusal {
  readonly reason: "NoMatchingRule" | "LimitExceeded";
  readonly message: string;
}

/** Why the operation is refused although some rule may allow it; undefined for nearly everything. */
export function sessionRefusal(
  bundle: Bundle,
  readOnly: boolean,
  operation: Operation,
): SessionRefusal | undefined {
  if (operation.kind !== "sql" || operation.session === undefined) return undefined;
  const { readWrite, statementTimeoutMs } = operation.session;
  if (readOnly && readWrite === true)
    return {
      reason: "NoMatchingRule",
      message: `no rule allows a write on connection ${connectionName(bundle)}, so its sessions are read-only and stay so; leave READ WRITE out`,
    };
  const limit = bundle.limits.statementTimeoutSeconds;
  if (limit === undefined || statementTimeoutMs === undefined || statementTimeoutMs <= limit * 1000)
    return undefined;
  return {
    reason: "LimitExceeded",
    message: `statements on connection ${connectionName(bundle)} may run for ${limit} s (limits.statementTimeout); set statement_timeout to that or less`,
  };
}
