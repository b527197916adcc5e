// The operator's certificates (RFC 5280), ECDSA P-256: an authority, its cross-signature by the one before, and serving leaves.
import { createHash, createPublicKey, randomBytes, sign, type KeyObject } from "node:crypto";
import {
  bitString,
  boolean,
  context,
  integer,
  objectIdentifier,
  octetString,
  sequence,
  set,
  time,
  utf8String,
} from "../../contract/der.ts";

export interface Validity {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

const ecdsaWithSha256 = sequence(objectIdentifier("1.2.840.10045.4.3.2"));
const oid = {
  commonName: "2.5.4.3",
  organization: "2.5.4.10",
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  authorityKeyIdentifier: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
  serverAuth: "1.3.6.1.5.5.7.3.1",
};

/**
 * A CA for `subjectKey`, signed by `signerKey`: the same key twice makes it self-signed, the previous CA's key makes it a
 * cross-certificate by which those who trust only that one find the new one good.
 */
export function authorityCertificate(
  subjectKey: KeyObject,
  signerKey: KeyObject,
  validity: Validity,
): string {
  return certificate(
    authorityName(signerKey),
    authorityName(subjectKey),
    createPublicKey(subjectKey),
    signerKey,
    validity,
    [
      extension(oid.basicConstraints, true, sequence(boolean(true))),
      extension(oid.keyUsage, true, bitString(Buffer.of(0b0000_0100), 2)), // keyCertSign
    ],
  );
}

/** A server certificate for these DNS names. Without a common name: no client may read names there. */
export function servingCertificate(
  authorityKey: KeyObject,
  publicKey: KeyObject,
  names: readonly string[],
  validity: Validity,
): string {
  return certificate(
    authorityName(authorityKey),
    distinguishedName([oid.organization, "Chaperone"]),
    publicKey,
    authorityKey,
    validity,
    [
      extension(oid.basicConstraints, true, sequence()),
      extension(oid.keyUsage, true, bitString(Buffer.of(0b1000_0000), 7)), // digitalSignature
      extension(oid.extendedKeyUsage, false, sequence(objectIdentifier(oid.serverAuth))),
      extension(
        oid.subjectAltName,
        false,
        sequence(...names.map((name) => context(2, Buffer.from(name, "latin1"), false))),
      ),
    ],
  );
}

function certificate(
  issuer: Buffer,
  subject: Buffer,
  publicKey: KeyObject,
  signer: KeyObject,
  validity: Validity,
  extensions: readonly Buffer[],
): string {
  // 127 bits: positive, unpredictable, and within the 20 octets of RFC 5280 section 4.1.2.2.
  const serial = randomBytes(16);
  serial.writeUInt8((serial.readUInt8(0) & 0x7f) | 0x40, 0);
  const toBeSigned = sequence(
    context(0, integer(Buffer.of(2)), true), // v3
    integer(serial),
    ecdsaWithSha256,
    issuer,
    sequence(time(validity.notBefore), time(validity.notAfter)),
    subject,
    publicKey.export({ type: "spki", format: "der" }),
    context(
      3,
      sequence(
        ...extensions,
        extension(oid.subjectKeyIdentifier, false, octetString(keyIdentifier(publicKey))),
        extension(
          oid.authorityKeyIdentifier,
          false,
          sequence(context(0, keyIdentifier(createPublicKey(signer)), false)),
        ),
      ),
      true,
    ),
  );
  return pem(
    "CERTIFICATE",
    sequence(toBeSigned, ecdsaWithSha256, bitString(sign("sha256", toBeSigned, signer))),
  );
}

/** Two CAs never share a name, so that a client with both in its bundle finds the right one. */
function authorityName(key: KeyObject): Buffer {
  const suffix = keyIdentifier(createPublicKey(key)).toString("hex").slice(0, 12);
  return distinguishedName(
    [oid.organization, "Chaperone"],
    [oid.commonName, `Chaperone operator CA ${suffix}`],
  );
}

function distinguishedName(
  ...attributes: readonly (readonly [type: string, value: string])[]
): Buffer {
  return sequence(
    ...attributes.map(([type, value]) => set(sequence(objectIdentifier(type), utf8String(value)))),
  );
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return sequence(objectIdentifier(id), ...(critical ? [boolean(true)] : []), octetString(value));
}

/** RFC 5280 section 4.2.1.2, method 1. */
function keyIdentifier(publicKey: KeyObject): Buffer {
  const point = publicKey.export({ type: "spki", format: "der" }).subarray(-65); // uncompressed P-256 point
  return createHash("sha1").update(point).digest();
}

function pem(label: string, der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
