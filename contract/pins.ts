// Pinned keys: whether a server that has proven its certificate also has one of the keys that its Connection lists.
import { createHash, X509Certificate } from "node:crypto";
import { checkServerIdentity } from "node:tls";
import type { ConnectionOptions, TLSSocket } from "node:tls";

/** `sha256/` and the base64 of SHA-256 over the SubjectPublicKeyInfo (DER), as RFC 7469 section 2.4 and curl write it. */
export function pinOf(spki: Buffer): string {
  return `sha256/${createHash("sha256").update(spki).digest("base64")}`;
}

/**
 * The server's own key counts, not its issuers': those of a handshake are what the server sent, and `ca` already says who may issue.
 *
 * @param socket after its handshake, which verified chain and name
 * @returns what is wrong, to follow the server's name in a sentence; undefined when nothing is
 */
export function unpinned(
  socket: TLSSocket,
  pins: readonly string[] | undefined,
): string | undefined {
  if (pins === undefined) return undefined;
  const certificate = socket.getPeerX509Certificate();
  return certificate === undefined
    ? "shows no certificate, though its key is pinned"
    : unlisted(certificate, pins);
}

/** The same for whoever opens no socket itself: Node's own check of the name, then the key. */
export function pinnedIdentity(
  pins: readonly string[],
): NonNullable<ConnectionOptions["checkServerIdentity"]> {
  return (host, certificate) => {
    const misnamed = checkServerIdentity(host, certificate);
    if (misnamed !== undefined) return misnamed;
    const why = unlisted(new X509Certificate(certificate.raw), pins);
    return why === undefined
      ? undefined
      : Object.assign(new Error(`${host} ${why}`), { code: "ERR_TLS_CERT_NOT_PINNED" });
  };
}

function unlisted(certificate: X509Certificate, pins: readonly string[]): string | undefined {
  const pin = pinOf(certificate.publicKey.export({ type: "spki", format: "der" }));
  return pins.includes(pin) ? undefined : `has the key ${pin}, which is not among those pinned`;
}
