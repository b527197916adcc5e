// The CA of one pod and the server certificates it mints for the names of the pod's Connections.
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  X509Certificate,
} from "node:crypto";
import type { KeyObject } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { isIP } from "node:net";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import type { SecureContext, SecureContextOptions } from "node:tls";

import { authorityCertificate, leafMint } from "./certificate.ts";

export interface PodAuthorityOptions {
  /** Every host name of the pod's Connections; the CA is constrained to these and to loopback addresses. */
  readonly names: readonly string[];
  /** A folder that only the proxy can read and that lives as long as the pod (tmpfs), or memory alone. */
  readonly storage: { readonly directory: string } | "memory";
  readonly now?: () => Date;
}

export interface PodAuthority {
  /** PEM of the CA, for the trust bundle. */
  readonly certificate: string;
  /** True for a name of this pod and for a loopback address: those it has certificates for. */
  knows(name: string): boolean;
  /**
   * What a TLS server presents under this name. Minting takes a fraction of a millisecond and is synchronous, so two
   * handshakes at once never mint twice. Throws RangeError for an unknown name.
   */
  secureContextFor(name: string): SecureContext;
}

/**
 * As long as a pod may plausibly live: what trusts the CA reads its bundle once, at start, so it cannot be rotated under
 * a running pod. It is no worse than a short one: key and pod die together, and the constraint holds it to this pod.
 */
const authorityDays = 365;
/** A stored CA with less left than this is replaced when the container restarts. */
const renewDays = 30;
const leafDays = 90;
/** Half of a leaf's life, so that none is presented near its end. */
const leafKeptDays = 45;
/** Clocks of a pod's containers are one, but images bring clients that compare to their own build date. */
const backdateMs = 3_600_000;
/** One context is 28 kB; a pod has dozens of names. */
const contextsKept = 500;
const dayMs = 86_400_000;
/**
 * The one that costs least first, then what any client knows. The group that resists quantum computers, which OpenSSL would choose, takes as long
 * as the rest of a handshake together, and these bytes never leave the pod; upstreams get it.
 */
const groups = "X25519:P-256:P-384:P-521";

/**
 * What a server in the pod presents. The CA does not follow its leaf (RFC 8446 section 4.4.2): who does not have it does not trust it either, and with its
 * constraints it is kilobytes that a client would read at each handshake.
 */
export function serverContext(shown: Pick<SecureContextOptions, "key" | "cert">): SecureContext {
  // A server that asks for no certificate needs no roots.
  return createSecureContext({ ...shown, ca: [], ecdhCurve: groups, minVersion: "TLSv1.2" });
}

interface Stored {
  readonly key: KeyObject;
  readonly certificate: string;
}

export async function createPodAuthority(options: PodAuthorityOptions): Promise<PodAuthority> {
  const now = options.now ?? (() => new Date());
  const names = new Set(options.names.map((name) => name.toLowerCase()));
  const stored =
    options.storage === "memory" ? undefined : await load(options.storage.directory, names, now());
  const authority = stored ?? createAuthority(names, now());
  if (stored === undefined && options.storage !== "memory")
    await store(options.storage.directory, names, authority);

  const leaf = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const leafKey = leaf.privateKey.export({ type: "pkcs8", format: "pem" });
  const mintLeaf = leafMint(authority.key, leaf.publicKey);
  const authorityEndMs = new X509Certificate(authority.certificate).validToDate.getTime();
  const contexts = new Map<string, { readonly context: SecureContext; readonly until: number }>();

  const knows = (name: string): boolean => names.has(name) || isLoopback(name);
  const mint = (name: string): SecureContext => {
    const at = now().getTime();
    const end = Math.min(at + leafDays * dayMs, authorityEndMs);
    const certificate = mintLeaf(name, {
      notBefore: new Date(at - backdateMs),
      notAfter: new Date(end),
    });
    const context = serverContext({ key: leafKey, cert: certificate });
    if (contexts.size >= contextsKept) {
      const oldest = contexts.keys().next();
      if (oldest.done !== true) contexts.delete(oldest.value);
    }
    contexts.set(name, { context, until: Math.min(at + leafKeptDays * dayMs, end - dayMs) });
    return context;
  };

  return {
    certificate: authority.certificate,
    knows,
    secureContextFor: (given) => {
      const name = given.toLowerCase();
      const kept = contexts.get(name);
      contexts.delete(name);
      if (kept !== undefined && kept.until > now().getTime()) {
        contexts.set(name, kept); // the newest at the end: the first key is the least recently used
        return kept.context;
      }
      if (!knows(name)) throw new RangeError(`no Connection of this pod has the host name ${name}`);
      return mint(name);
    },
  };
}

function createAuthority(names: ReadonlySet<string>, at: Date): Stored {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const validity = {
    notBefore: new Date(at.getTime() - backdateMs),
    notAfter: new Date(at.getTime() + authorityDays * dayMs),
  };
  return { key: privateKey, certificate: authorityCertificate(privateKey, [...names], validity) };
}

/** The stored CA, or undefined when there is none that fits these names and lasts. */
async function load(
  directory: string,
  names: ReadonlySet<string>,
  at: Date,
): Promise<Stored | undefined> {
  try {
    const stored: unknown = JSON.parse(await readFile(join(directory, fileName), "utf8"));
    if (!isFile(stored) || stored.names !== listOf(names)) return undefined;
    const key = createPrivateKey(stored.key);
    const certificate = new X509Certificate(stored.certificate);
    const lasts = certificate.validToDate.getTime() - at.getTime() > renewDays * dayMs;
    return lasts && certificate.verify(createPublicKey(key))
      ? { key, certificate: stored.certificate }
      : undefined;
  } catch {
    // Missing on the pod's first start; unreadable or cut short it is as good as missing.
    return undefined;
  }
}

/** One file, so that key and certificate can never be of two different CAs; renamed into place, so that it is never half a file. */
const fileName = "authority.json";

async function store(
  directory: string,
  names: ReadonlySet<string>,
  authority: Stored,
): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const key = authority.key.export({ type: "pkcs8", format: "pem" });
  const temporary = join(directory, `${fileName}.new`);
  await writeFile(
    temporary,
    JSON.stringify({ names: listOf(names), key, certificate: authority.certificate }),
    { mode: 0o600 },
  );
  await rename(temporary, join(directory, fileName));
}

function isFile(
  value: unknown,
): value is { readonly names: string; readonly key: string; readonly certificate: string } {
  if (
    typeof value !== "object" ||
    value === null ||
    !("names" in value) ||
    !("key" in value) ||
    !("certificate" in value)
  )
    return false;
  return (
    typeof value.names === "string" &&
    typeof value.key === "string" &&
    typeof value.certificate === "string"
  );
}

function listOf(names: ReadonlySet<string>): string {
  return [...names].toSorted().join(" ");
}

function isLoopback(name: string): boolean {
  return name === "::1" || (isIP(name) === 4 && name.startsWith("127."));
}
