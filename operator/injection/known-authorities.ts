// Whether the CAs that a pod's proxy trusts are those of this installation: a proxy that trusts another would hand its token to whoever
// stands in the operator's place, and credentials to whoever stands in an upstream's.
import { X509Certificate } from "node:crypto";

/** A bundle is a CA and the one before it, or the few of a company; more is nothing that we wrote. */
const maxCertificates = 256;

const pemCertificate = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/**
 * CAs rotate while pods live, so a pod may know fewer than we do, or one that has ended since and proves nothing any more.
 *
 * @param bundle PEM, as it stands in the pod
 * @param known PEM, as this installation would write it now
 */
export function knowsOnly(bundle: string, known: string, now: number): boolean {
  if (bundle === known) return true;
  const certificates = bundle.match(pemCertificate) ?? [];
  const rest = bundle.replace(pemCertificate, "").trim();
  if (rest !== "" || certificates.length > maxCertificates) return false;
  const ours = new Set((known.match(pemCertificate) ?? []).map(fingerprint));
  return certificates.every((pem) => {
    const print = fingerprint(pem);
    return print !== undefined && (ours.has(print) || hasEnded(pem, now));
  });
}

function fingerprint(pem: string): string | undefined {
  try {
    return new X509Certificate(pem).fingerprint512;
  } catch {
    return undefined;
  }
}

function hasEnded(pem: string, now: number): boolean {
  return new X509Certificate(pem).validToDate.getTime() <= now;
}
