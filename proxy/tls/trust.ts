// What an application trusts to reach the proxy, as files: a PEM bundle for most, and a truststore beside it for Java.
import { rename, writeFile } from "node:fs/promises";

import { truststoreBeside } from "../../contract/trust.ts";
import { truststore } from "./truststore.ts";

export interface TrustParts {
  readonly roots: readonly string[];
  /** Of this installation; one text may hold several certificates. */
  readonly extraCAs: readonly string[];
  readonly podCa: string;
}

/** PEM of everything an application in the pod should trust: the roots, the cluster's extra CAs and the pod's own. */
export function trustBundle(parts: TrustParts): string {
  return [...parts.roots, ...parts.extraCAs, parts.podCa].map((pem) => `${pem.trim()}\n`).join("");
}

/** Writes both files, each whole or not at all: a container that starts while the proxy starts anew reads the old or the new. */
export async function writeTrust(bundleFile: string, parts: TrustParts): Promise<void> {
  const bundle = trustBundle(parts);
  await replace(bundleFile, bundle);
  await replace(truststoreBeside(bundleFile), truststore(bundle));
}

async function replace(file: string, content: string | Buffer): Promise<void> {
  const fresh = `${file}.new`;
  await writeFile(fresh, content, { mode: 0o644 });
  await rename(fresh, file);
}
