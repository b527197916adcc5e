// Finds the addresses of the API server and of the operator itself, which no probe may dial.
import { isIP } from "node:net";
import type { KubeClient } from "../kube/client.ts";
import { fieldAt, listAt, textAt } from "../kube/objects.ts";
import { forbiddenAddresses, type ForbiddenAddresses } from "./forbidden.ts";

/** An API server that moves is found again within this. */
const refreshMs = 10 * 60_000;

const readTimeoutMs = 15_000;

export interface OwnAddressOptions {
  readonly client: KubeClient;
  readonly resolve: (host: string) => Promise<readonly string[]>;
  /** Names and addresses with what each is, e.g. `the API server`. */
  readonly known: ReadonlyMap<string, string>;
  readonly onProblem: (error: unknown) => void;
}

export class OwnAddresses implements ForbiddenAddresses {
  readonly #options: OwnAddressOptions;
  readonly #timer: NodeJS.Timeout;
  #refreshing: Promise<void> = Promise.resolve();
  #current: ForbiddenAddresses;

  private constructor(options: OwnAddressOptions, current: ForbiddenAddresses) {
    this.#options = options;
    this.#current = current;
    this.#timer = setInterval(() => {
      this.#refreshing = this.#refresh();
    }, refreshMs);
    this.#timer.unref();
  }

  /** No probe may run before this resolves. */
  static async open(options: OwnAddressOptions, signal: AbortSignal): Promise<OwnAddresses> {
    return new OwnAddresses(options, forbiddenAddresses(await find(options, signal)));
  }

  reason(address: string): string | undefined {
    return this.#current.reason(address);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#refreshing;
  }

  /** What was known stays known when it cannot be found again. */
  async #refresh(): Promise<void> {
    try {
      this.#current = forbiddenAddresses(
        await find(this.#options, AbortSignal.timeout(readTimeoutMs)),
      );
    } catch (error) {
      this.#options.onProblem(error);
    }
  }
}

async function find(
  { client, resolve, known }: OwnAddressOptions,
  signal: AbortSignal,
): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const [host, what] of known) {
    // A name that does not exist yet (the Service, before it is there) is nobody's address.
    const addresses = isIP(host) > 0 ? [host] : await resolve(host).catch(() => []);
    for (const address of addresses) found.set(address, what);
  }
  const about = await client.call({ method: "GET", path: "/api" }, signal);
  for (const entry of listAt(about, "serverAddressByClientCIDRs")) {
    const address = hostOf(textAt(entry, "serverAddress") ?? "");
    if (isIP(address) > 0) found.set(address, "the API server");
  }
  const endpoints = await client
    .call({ method: "GET", path: "/api/v1/namespaces/default/endpoints/kubernetes" }, signal)
    .catch(() => undefined);
  for (const subset of listAt(endpoints, "subsets")) {
    for (const entry of listAt(subset, "addresses")) {
      const ip = fieldAt(entry, "ip");
      if (typeof ip === "string") found.set(ip, "the API server");
    }
  }
  return found;
}

/** `10.0.0.1:6443` or `[fd00::1]:6443`. */
function hostOf(address: string): string {
  return address.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
}
