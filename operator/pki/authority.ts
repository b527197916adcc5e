// The operator's certificate authority as data: made, renewed with the old one still trusted, and what is signed by it. Pure but for fresh keys.
import {
  createPrivateKey,
  generateKeyPairSync,
  X509Certificate,
  type KeyObject,
} from "node:crypto";
import { authorityCertificate, servingCertificate, type Validity } from "./certificate.ts";

const day = 24 * 60 * 60 * 1000;

/** Pods carry the CA they were injected with, and live long; a third of this is how old the oldest of them may be. */
export const authorityLifeMs = 5 * 365 * day;

/** Minted in memory and never stored, so it costs nothing to be short. */
export const servingLifeMs = 7 * day;

/** Clocks of nodes may be a little behind ours. */
const backdateMs = 5 * 60_000;

export interface Authority {
  readonly certificate: string;
  /** PKCS#8 PEM. */
  readonly key: string;
  /** The authority before this one, trusted until it ends. */
  readonly previous?: string;
  /** This one signed by the one before, for pods that know only that. */
  readonly cross?: string;
}

export interface Serving {
  /** The leaf and what leads from it to any CA that is still trusted. */
  readonly cert: string;
  readonly key: string;
}

export function newAuthority(now: number): Authority {
  const key = newKey();
  return {
    certificate: authorityCertificate(key, key, validity(now, authorityLifeMs)),
    key: privatePem(key),
  };
}

export function renewedAuthority(old: Authority, now: number): Authority {
  const key = newKey();
  const until = new X509Certificate(old.certificate).validToDate.getTime();
  return {
    certificate: authorityCertificate(key, key, validity(now, authorityLifeMs)),
    key: privatePem(key),
    previous: old.certificate,
    cross: authorityCertificate(key, createPrivateKey(old.key), {
      ...validity(now, authorityLifeMs),
      notAfter: new Date(until),
    }),
  };
}

export function newServing(authority: Authority, names: readonly string[], now: number): Serving {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const leaf = servingCertificate(
    createPrivateKey(authority.key),
    publicKey,
    names,
    validity(now, servingLifeMs),
  );
  return {
    cert: `${leaf}${isOver(authority.cross, now) ? "" : (authority.cross ?? "")}`,
    key: privatePem(privateKey),
  };
}

/** What others must trust: this authority, and the one before while it lasts. */
export function trustBundle(authority: Authority, now: number): string {
  return `${authority.certificate}${isOver(authority.previous, now) ? "" : (authority.previous ?? "")}`;
}

/** After two thirds of its life a certificate is renewed, which leaves a third for everything that can go wrong. */
export function isDue(certificate: string, now: number): boolean {
  const { validFromDate, validToDate } = new X509Certificate(certificate);
  const from = validFromDate.getTime();
  return now >= from + ((validToDate.getTime() - from) * 2) / 3;
}

/** Checks that the stored parts belong together. Throws a sentence about which does not. */
export function checkAuthority(authority: Authority): void {
  const certificate = new X509Certificate(authority.certificate);
  if (!certificate.checkPrivateKey(createPrivateKey(authority.key)))
    throw new Error("its tls.key does not belong to its tls.crt");
}

function isOver(certificate: string | undefined, now: number): boolean {
  return certificate === undefined || new X509Certificate(certificate).validToDate.getTime() <= now;
}

function validity(now: number, lifeMs: number): Validity {
  return { notBefore: new Date(now - backdateMs), notAfter: new Date(now + lifeMs) };
}

function newKey(): KeyObject {
  return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
}

function privatePem(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }).toString();
}
