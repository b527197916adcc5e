// Builds the two certificates of a pod (RFC 5280): a name-constrained CA and leaves under it, ECDSA P-256.
// By hand instead of by a library, because the whole profile is fixed and the library costs every pod 19 MB.
import { createHash, createPublicKey, randomBytes, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { isIP, isIPv4 } from "node:net";

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
  organization: "2.5.4.10",
  commonName: "2.5.4.3",
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  nameConstraints: "2.5.29.30",
  authorityKeyIdentifier: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
  serverAuth: "1.3.6.1.5.5.7.3.1",
};

/**
 * A self-signed CA that can vouch for these DNS names and for loopback addresses, and for nothing else: an application
 * that trusts it is not exposed to a proxy that speaks for the whole world.
 */
export function authorityCertificate(
  key: KeyObject,
  names: readonly string[],
  validity: Validity,
): string {
  const name = authorityName(key);
  return certificate({
    issuer: name,
    subject: name,
    validity,
    publicKey: subjectPublicKeyInfo(createPublicKey(key)),
    signer: key,
    extensions: [
      extension(oid.basicConstraints, true, sequence(boolean(true), integer(Buffer.of(0)))),
      extension(oid.keyUsage, true, bitString(Buffer.of(0b0000_0100), 2)), // keyCertSign
      extension(oid.nameConstraints, true, nameConstraints(names)),
      extension(oid.subjectKeyIdentifier, false, octetString(keyIdentifier(createPublicKey(key)))),
    ],
  });
}

/** A server certificate for one host name or address. It has no common name: a client that reads names there would pass by the constraint. */
export type LeafMint = (name: string, validity: Validity) => string;

/** All that the leaves of one key have in common is made once: what is left is one signature. */
export function leafMint(authorityKey: KeyObject, publicKey: KeyObject): LeafMint {
  const issuer = authorityName(authorityKey);
  const subject = distinguishedName([oid.organization, "Chaperone"]);
  const publicKeyInfo = subjectPublicKeyInfo(publicKey);
  const before = [
    extension(oid.basicConstraints, true, sequence()),
    extension(oid.keyUsage, true, bitString(Buffer.of(0b1000_0000), 7)), // digitalSignature
    extension(oid.extendedKeyUsage, false, sequence(objectIdentifier(oid.serverAuth))),
  ];
  const after = [
    extension(oid.subjectKeyIdentifier, false, octetString(keyIdentifier(publicKey))),
    extension(
      oid.authorityKeyIdentifier,
      false,
      sequence(context(0, keyIdentifier(createPublicKey(authorityKey)), false)),
    ),
  ];
  return (name, validity) =>
    certificate({
      issuer,
      subject,
      validity,
      publicKey: publicKeyInfo,
      signer: authorityKey,
      extensions: [
        ...before,
        extension(oid.subjectAltName, false, sequence(generalName(name))),
        ...after,
      ],
    });
}

/** One leaf. */
export function leafCertificate(
  authorityKey: KeyObject,
  publicKey: KeyObject,
  name: string,
  validity: Validity,
): string {
  return leafMint(authorityKey, publicKey)(name, validity);
}

interface Contents {
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly validity: Validity;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Buffer;
  readonly signer: KeyObject;
  readonly extensions: readonly Buffer[];
}

function certificate(contents: Contents): string {
  // 127 bits: positive, unpredictable, and within the 20 octets of RFC 5280 section 4.1.2.2.
  const serial = randomBytes(16);
  serial.writeUInt8((serial.readUInt8(0) & 0x7f) | 0x40, 0);
  const toBeSigned = sequence(
    context(0, integer(Buffer.of(2)), true), // v3
    integer(serial),
    ecdsaWithSha256,
    contents.issuer,
    sequence(time(contents.validity.notBefore), time(contents.validity.notAfter)),
    contents.subject,
    contents.publicKey,
    context(3, sequence(...contents.extensions), true),
  );
  const signature = sign("sha256", toBeSigned, contents.signer);
  return pem("CERTIFICATE", sequence(toBeSigned, ecdsaWithSha256, bitString(signature)));
}

/** Two CAs never share a name, so that a client with both in its bundle finds the right one. */
function authorityName(key: KeyObject): Buffer {
  const suffix = keyIdentifier(createPublicKey(key)).toString("hex").slice(0, 12);
  return distinguishedName(
    [oid.organization, "Chaperone"],
    [oid.commonName, `Chaperone pod CA ${suffix}`],
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

/** RFC 5280 section 4.2.1.10. Types that are not listed are not constrained, so addresses are listed too. */
function nameConstraints(names: readonly string[]): Buffer {
  const dns = names
    .filter((name) => isIP(name) === 0)
    .map((name) => sequence(context(2, Buffer.from(name, "latin1"), false)));
  const addresses = [
    Buffer.from([127, 0, 0, 0, 255, 0, 0, 0]),
    Buffer.concat([addressBytes("::1"), Buffer.alloc(16, 0xff)]),
  ].map((subnet) => sequence(context(7, subnet, false)));
  return sequence(context(0, Buffer.concat([...dns, ...addresses]), true));
}

function generalName(name: string): Buffer {
  return isIP(name) === 0
    ? context(2, Buffer.from(name, "latin1"), false)
    : context(7, addressBytes(name), false);
}

/** Only the two forms that occur here: dotted IPv4, and `::1`. */
function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split(".").map(Number));
  if (address !== "::1")
    throw new TypeError(`a pod's certificate is never for the address ${address}`);
  const bytes = Buffer.alloc(16);
  bytes.writeUInt8(1, 15);
  return bytes;
}

function subjectPublicKeyInfo(key: KeyObject): Buffer {
  return key.export({ type: "spki", format: "der" });
}

/** RFC 5280 section 4.2.1.2, method 1. */
function keyIdentifier(publicKey: KeyObject): Buffer {
  const point = subjectPublicKeyInfo(publicKey).subarray(-65); // uncompressed P-256 point
  return createHash("sha1").update(point).digest();
}

function pem(label: string, der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
