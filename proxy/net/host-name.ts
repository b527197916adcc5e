// What a host name is, wherever one is read off the wire.

/** Dots between labels of letters, digits, hyphens and underscores, as names are dialled (RFC 1123 section 2.1). */
const hostPattern =
  /^[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?(\.[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?)*$/;
const maxHostLength = 253;

/** @param name lower case, without a last dot */
export function isHostName(name: string): boolean {
  return name.length <= maxHostLength && hostPattern.test(name);
}
