// Reads resolv.conf (resolv.conf(5)) into what the resolver needs: servers, search list, ndots. Pure.

export interface ResolvConf {
  readonly servers: readonly string[];
  readonly search: readonly string[];
  readonly ndots: number;
}

/** glibc's own limits: MAXNS, MAXDNSRCH and the cap of RES_MAXNDOTS. Kubernetes writes at most 32 search domains. */
const maxServers = 3;
const maxSearch = 32;
const maxNdots = 15;

export function parseResolvConf(text: string): ResolvConf {
  const servers: string[] = [];
  let search: string[] = [];
  let ndots = 1;
  for (const line of text.split("\n")) {
    const [keyword, ...values] = line
      .replace(/[#;].*$/, "")
      .trim()
      .split(/\s+/);
    const first = values[0];
    if (first === undefined) continue;
    if (keyword === "nameserver" && servers.length < maxServers) servers.push(first);
    // The last `search` or `domain` line wins.
    else if (keyword === "search")
      search = values
        .map(withoutDot)
        .filter((name) => name !== "")
        .slice(0, maxSearch);
    else if (keyword === "domain") search = [withoutDot(first)];
    else if (keyword === "options") ndots = ndotsOf(values) ?? ndots;
  }
  return { servers, search, ndots };
}

/**
 * The absolute names to ask for, in order: a name with at least `ndots` dots is tried as it stands first, a shorter one
 * last, and a name that ends with a dot is asked for alone.
 */
export function candidates(name: string, conf: ResolvConf): string[] {
  if (name.endsWith(".")) return [withoutDot(name)];
  const dots = name.split(".").length - 1;
  const searched = conf.search.map((domain) => `${name}.${domain}`);
  const asked = dots >= conf.ndots ? [name, ...searched] : [...searched, name];
  return isOfCluster(name) && !conf.search.some(isClusterDomain)
    ? [`${name}.${clusterDomain}`, ...asked]
    : asked;
}

/**
 * Kubernetes' own default. A pod with a search list of its own (dnsPolicy None) finds Services by it, the operator before all; first,
 * because a server that does not answer for a name that nobody has ends the search.
 */
const clusterDomain = "cluster.local";

function isOfCluster(name: string): boolean {
  return name.endsWith(".svc");
}

function isClusterDomain(domain: string): boolean {
  return domain.startsWith("svc.");
}

function ndotsOf(values: readonly string[]): number | undefined {
  const option = values.findLast((value) => /^ndots:\d+$/.test(value));
  return option === undefined
    ? undefined
    : Math.min(Number(option.slice("ndots:".length)), maxNdots);
}

function withoutDot(name: string): string {
  return name.endsWith(".") ? name.slice(0, -1) : name;
}
