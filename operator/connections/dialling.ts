// How the operator itself reaches upstreams, for probes and for the databases that roles are made in: names, forbidden addresses, roots.
import { lookup } from "node:dns/promises";
import { rootCertificates } from "node:tls";
import { serviceNames, type OperatorConfig } from "../config.ts";
import { openTimeoutMs, type Closers, type Foundations } from "../foundations.ts";
import type { ForbiddenAddresses } from "./forbidden.ts";
import { OwnAddresses } from "./own-addresses.ts";

export interface Dialling {
  /** Every address of a name. */
  readonly resolve: (host: string) => Promise<readonly string[]>;
  readonly forbidden: ForbiddenAddresses;
  /** Roots besides Node's own, PEM, with them; for Connections that name no CA. */
  readonly roots: string | undefined;
}

/** Nothing may be dialled before this resolves. */
export async function openDialling(
  config: OperatorConfig,
  { client, server }: Foundations,
  onProblem: (error: unknown) => void,
  closers: Closers,
): Promise<Dialling> {
  const resolve = async (host: string): Promise<readonly string[]> =>
    (await lookup(host, { all: true })).map(({ address }) => address);
  const forbidden = await OwnAddresses.open(
    { client, resolve, known: ownNames(config, server), onProblem },
    AbortSignal.timeout(openTimeoutMs),
  );
  closers.push(() => forbidden.close());
  const roots =
    config.extraCa === "" ? undefined : [...rootCertificates, config.extraCa].join("\n");
  return { resolve, forbidden, roots };
}

/** Whom nothing may dial, by name; own-addresses.ts finds out more. */
function ownNames(config: OperatorConfig, server: string): ReadonlyMap<string, string> {
  const names = new Map<string, string>([
    [new URL(server).hostname.replace(/^\[|\]$/g, ""), "the API server"],
    ["kubernetes.default.svc", "the API server"],
  ]);
  for (const name of serviceNames(config)) names.set(name, "the operator itself");
  if (config.podAddress !== undefined) names.set(config.podAddress, "the operator itself");
  return names;
}
