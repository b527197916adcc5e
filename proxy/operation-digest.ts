// The digest by which an approval knows the one operation that it was given for.
import { createHash } from "node:crypto";
import type { Subject } from "../policy/operation.ts";

/** What an approval binds to: this pod, this connection, this exact content. */
export function operationDigest(subject: Subject, connection: string, exact: string): string {
  return `sha256-${createHash("sha256")
    .update(JSON.stringify([subject.podUid, connection, exact]))
    .digest("base64url")}`;
}
