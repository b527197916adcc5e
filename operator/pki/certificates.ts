// The certificates this replica serves with: the authority from its Secret, a leaf of its own in memory, both renewed in time.
import {
  isDue,
  checkAuthority,
  newAuthority,
  newServing,
  renewedAuthority,
  trustBundle,
  type Authority,
  type Serving,
} from "./authority.ts";
import type { NamedSecret } from "./named-secret.ts";

/** By the wall clock, not by one long timer: a machine that was suspended must notice when it wakes. */
export const checkIntervalMs = 60_000;

/** Replicas that start together race for the first write; each loser reads again. */
const maxRounds = 5;

const roundTimeoutMs = 15_000;

export interface CertificatesOptions {
  readonly secret: NamedSecret;
  /** DNS names under which the operator is called. */
  readonly names: readonly string[];
  readonly now: () => number;
  readonly onProblem: (error: unknown) => void;
}

export class Certificates {
  readonly #options: CertificatesOptions;
  readonly #listeners = new Set<(serving: Serving) => void>();
  readonly #stop = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #authority: Authority;
  #serving: Serving;
  #checking: Promise<void> = Promise.resolve();

  private constructor(options: CertificatesOptions, authority: Authority) {
    this.#options = options;
    this.#authority = authority;
    this.#serving = newServing(authority, options.names, options.now());
    this.#timer = setInterval(() => {
      this.#checking = this.check().catch(options.onProblem);
    }, checkIntervalMs);
    this.#timer.unref();
  }

  /** Nothing may listen before this resolves. */
  static async open(options: CertificatesOptions, signal: AbortSignal): Promise<Certificates> {
    return new Certificates(options, await currentAuthority(options.secret, options.now(), signal));
  }

  serving(): Serving {
    return this.#serving;
  }

  /** PEM of every authority that callers must trust now. */
  bundle(): string {
    return trustBundle(this.#authority, this.#options.now());
  }

  /** Called with every new leaf, for the servers to swap. */
  onRenewed(listener: (serving: Serving) => void): void {
    this.#listeners.add(listener);
  }

  /** Picks up what another replica renewed, and renews what is due. */
  async check(): Promise<void> {
    const { secret, now, names } = this.#options;
    const authority = await currentAuthority(
      secret,
      now(),
      AbortSignal.any([this.#stop.signal, AbortSignal.timeout(roundTimeoutMs)]),
    );
    const isOther = authority.certificate !== this.#authority.certificate;
    this.#authority = authority;
    if (!isOther && !isDue(this.#serving.cert, now())) return;
    this.#serving = newServing(authority, names, now());
    for (const listener of this.#listeners) listener(this.#serving);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort();
    await this.#checking;
  }
}

/** The authority in force at `now`: the stored one, or a first or renewed one that won the write. */
export async function currentAuthority(
  secret: NamedSecret,
  now: number,
  signal: AbortSignal,
): Promise<Authority> {
  for (let round = 0; round < maxRounds; round += 1) {
    const { values, revision } = await secret.load(signal);
    const stored = readAuthority(values, `Secret ${secret.namespace}/${secret.name}`);
    if (stored !== undefined && !isDue(stored.certificate, now)) return stored;
    const wanted = stored === undefined ? newAuthority(now) : renewedAuthority(stored, now);
    if (await secret.save(writeAuthority(wanted), revision, signal)) return wanted;
  }
  throw new Error(
    `Secret ${secret.namespace}/${secret.name} changed under us ${maxRounds} times in a row; is something else writing it?`,
  );
}

function readAuthority(
  values: Readonly<Record<string, string>>,
  where: string,
): Authority | undefined {
  const {
    "tls.crt": certificate,
    "tls.key": key,
    "previous.crt": previous,
    "cross.crt": cross,
  } = values;
  if (certificate === undefined && key === undefined) return undefined;
  if (certificate === undefined || key === undefined)
    throw new Error(
      `${where} holds only half of the operator's CA; delete it, and a new one is made`,
    );
  const authority = {
    certificate,
    key,
    ...(previous === undefined ? {} : { previous }),
    ...(cross === undefined ? {} : { cross }),
  };
  try {
    checkAuthority(authority);
  } catch (cause) {
    throw new Error(
      `${where} does not hold the operator's CA: ${cause instanceof Error ? cause.message : "unreadable"}; delete it, and a new one is made`,
      { cause },
    );
  }
  return authority;
}

function writeAuthority({ certificate, key, previous, cross }: Authority): Record<string, string> {
  return {
    "tls.crt": certificate,
    "tls.key": key,
    ...(previous === undefined ? {} : { "previous.crt": previous }),
    ...(cross === undefined ? {} : { "cross.crt": cross }),
  };
}
