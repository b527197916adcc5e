// The digest of an exact operation: what an approval binds to, and by which repetitions are known.
import { createHash } from "node:crypto";
import type { Subject } from "../policy/operation.ts";

/** Of this pod, this connection, this exact content. */
export function operationDigest(subject: Subject, connection: string, exact: string): string {
  return `sha256-${createHash("sha256")
    .update(JSON.stringify([subject.podUid, connection, exact]))
    .digest("base64url")}`;
}
