// The grants this replica issued that are not over: for status, and to say what ended.

/** One pod holds one pod grant and one grant a connection; no pod has more connections than this. */
export const maxGrantsPerPod = 128;

export interface LiveEntry {
  readonly id: string;
  readonly podUid: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly pod: string;
  /** `namespace/name`; absent in a pod grant. */
  readonly connection?: string;
  /** Generation of the bundle that went with it. */
  readonly bundle?: string;
  readonly policies: readonly string[];
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
}

/** Any of; several narrow each other. */
export interface LiveSelector {
  readonly podUid?: string;
  readonly connection?: string;
  /** `namespace/name` of a policy. */
  readonly policy?: string;
}

/** Pods are bounded by the key bindings, grants by pod; a renewed grant replaces the one before it. */
export class LiveGrants {
  readonly #now: () => number;
  readonly #byPod = new Map<string, Map<string, LiveEntry>>();
  readonly #countByConnection = new Map<string, number>();

  constructor(now: () => number) {
    this.#now = now;
  }

  add(entry: LiveEntry): void {
    const grants = this.#byPod.get(entry.podUid) ?? new Map<string, LiveEntry>();
    this.#byPod.set(entry.podUid, grants);
    const key = entry.connection ?? "";
    this.#remove(grants, key);
    const oldest = grants.size >= maxGrantsPerPod ? grants.keys().next().value : undefined;
    if (oldest !== undefined) this.#remove(grants, oldest);
    grants.set(key, entry);
    if (entry.connection !== undefined)
      this.#countByConnection.set(
        entry.connection,
        (this.#countByConnection.get(entry.connection) ?? 0) + 1,
      );
  }

  /** Grants in force, also those that only one of the selector's fields narrows. */
  select(selector: LiveSelector): LiveEntry[] {
    const now = this.#now();
    const pods =
      selector.podUid === undefined
        ? this.#byPod.values()
        : [this.#byPod.get(selector.podUid) ?? new Map<string, LiveEntry>()];
    return [...pods].flatMap((grants) =>
      [...grants.values()].filter((entry) => entry.expiresAt > now && selected(entry, selector)),
    );
  }

  /** Forgets what the selector names and returns it, for the audit trail. */
  revoke(selector: LiveSelector): LiveEntry[] {
    const ended = this.select(selector);
    for (const { podUid, connection } of ended) {
      const grants = this.#byPod.get(podUid);
      if (grants !== undefined) this.#remove(grants, connection ?? "");
      if (grants?.size === 0) this.#byPod.delete(podUid);
    }
    return ended;
  }

  /** Connection grants in force for `namespace/name`, an upper bound until `sweep` has run. */
  activeOn(connection: string): number {
    return this.#countByConnection.get(connection) ?? 0;
  }

  forgetPod(podUid: string): LiveEntry[] {
    const ended = this.revoke({ podUid });
    const rest = this.#byPod.get(podUid);
    for (const key of rest?.keys() ?? []) if (rest !== undefined) this.#remove(rest, key);
    this.#byPod.delete(podUid);
    return ended;
  }

  /** Drops what has expired; called from a timer by whoever owns this. */
  sweep(): void {
    const now = this.#now();
    for (const [podUid, grants] of this.#byPod) {
      for (const [key, entry] of grants) if (entry.expiresAt <= now) this.#remove(grants, key);
      if (grants.size === 0) this.#byPod.delete(podUid);
    }
  }

  #remove(grants: Map<string, LiveEntry>, key: string): void {
    const entry = grants.get(key);
    if (entry === undefined) return;
    grants.delete(key);
    if (entry.connection === undefined) return;
    const left = (this.#countByConnection.get(entry.connection) ?? 1) - 1;
    if (left > 0) this.#countByConnection.set(entry.connection, left);
    else this.#countByConnection.delete(entry.connection);
  }
}

function selected(entry: LiveEntry, { podUid, connection, policy }: LiveSelector): boolean {
  if (podUid !== undefined && entry.podUid !== podUid) return false;
  if (connection !== undefined && entry.connection !== connection) return false;
  return policy === undefined || entry.policies.includes(policy);
}
