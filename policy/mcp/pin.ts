// The digest of a tool's definition: what a model reads of a tool is what makes it call it, so a change of it is a change of the tool.
import { createHash } from "node:crypto";
import canonicalize from "canonicalize";
import type { JsonObject } from "../operation.ts";

/** What does not say what a tool is: metadata of the protocol, and how it is drawn. */
const without: ReadonlySet<string> = new Set(["_meta", "icons"]);

/** `sha256-` and base64url, over the canonical form (RFC 8785) of the definition. */
export function toolDigest(tool: JsonObject): string {
  const counted = Object.fromEntries(Object.entries(tool).filter(([name]) => !without.has(name)));
  const hash = createHash("sha256").update(canonicalize(counted) ?? "");
  return `sha256-${hash.digest("base64url")}`;
}
