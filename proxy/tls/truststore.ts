// Builds a PKCS #12 file (RFC 7292) of certificates to trust, as Java reads it: neither encrypted nor authenticated, because what it holds is
// public and who may write it is a matter of the volume it lies on. Any password opens it, and none.
import {
  bmpString,
  context,
  integer,
  objectIdentifier,
  octetString,
  sequence,
  set,
} from "../../contract/der.ts";

const oid = {
  data: "1.2.840.113549.1.7.1",
  certificateBag: "1.2.840.113549.1.12.10.1.3",
  x509Certificate: "1.2.840.113549.1.9.22.1",
  friendlyName: "1.2.840.113549.1.9.20",
  /** Oracle's: without it Java takes a certificate for part of somebody's chain and does not trust it. */
  trustedKeyUsage: "2.16.840.1.113894.746875.1.1",
  anyExtendedKeyUsage: "2.5.29.37.0",
} as const;

const certificatePattern = /-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/g;

/** @param bundle PEM of any number of certificates; one that comes twice is taken once */
export function truststore(bundle: string): Buffer {
  const certificates = new Set(
    [...bundle.matchAll(certificatePattern)].map(([, base64 = ""]) => base64.replace(/\s/g, "")),
  );
  const bags = [...certificates].map((base64, index) =>
    // Java knows entries by their names, so each has one of its own.
    trustedCertificate(Buffer.from(base64, "base64"), `chaperone-${index + 1}`),
  );
  const authenticatedSafe = sequence(content(sequence(...bags)));
  return sequence(integer(Buffer.of(3)), content(authenticatedSafe));
}

/** RFC 7292 section 4: ContentInfo of type data. */
function content(der: Buffer): Buffer {
  return sequence(objectIdentifier(oid.data), context(0, octetString(der), true));
}

/** RFC 7292 section 4.2: a SafeBag with a CertBag. */
function trustedCertificate(der: Buffer, name: string): Buffer {
  const certificate = sequence(
    objectIdentifier(oid.x509Certificate),
    context(0, octetString(der), true),
  );
  // In the order that DER wants in a SET OF: by their bytes.
  const attributes = [
    attribute(oid.friendlyName, bmpString(name)),
    attribute(oid.trustedKeyUsage, objectIdentifier(oid.anyExtendedKeyUsage)),
  ].toSorted(Buffer.compare);
  return sequence(
    objectIdentifier(oid.certificateBag),
    context(0, certificate, true),
    set(...attributes),
  );
}

function attribute(id: string, value: Buffer): Buffer {
  return sequence(objectIdentifier(id), set(value));
}
