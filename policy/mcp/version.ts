// The revisions of the Model Context Protocol, and which of the two generations a message belongs to.

/** Negotiated once by `initialize`, oldest first. */
export const sessionVersions = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] as const;
/** Said by every message for itself. */
export const sessionlessVersions = ["2026-07-28"] as const;

export const knownVersions: readonly string[] = [...sessionVersions, ...sessionlessVersions];

export type Generation = "session" | "sessionless";

/** Undefined for a version that this proxy does not know, and so cannot decide on. */
export function generationOf(version: string): Generation | undefined {
  if (sessionVersions.some((one) => one === version)) return "session";
  return sessionlessVersions.some((one) => one === version) ? "sessionless" : undefined;
}

/** Keys of `_meta` by which a sessionless message says who it is (2026-07-28, overview, section General fields). */
export const metaKeys = {
  version: "io.modelcontextprotocol/protocolVersion",
  capabilities: "io.modelcontextprotocol/clientCapabilities",
} as const;
