// The roles that `credential.postgresRole` stands for: one for each pod and connection while a grant lives, gone from the database with it.
import type { Lease } from "../../contract/control.ts";
import type { Connection } from "../../crds/types.gen.ts";
import type { Bundle } from "../../policy/bundle.ts";
import { connectionName } from "../connections/endpoint.ts";
import { govern, type Governing } from "../grants/govern.ts";
import { LeaseRefused } from "../grants/lease-refused.ts";
import type { PodIdentity, ResourceChange } from "../resources.ts";
import type { AdminTarget, DatabaseAccess } from "./admin.ts";
import type { FoundRole, FoundRoles } from "./database-role.ts";
import { Databases, isSameDatabase } from "./databases.ts";
import { EndingRoles } from "./ending.ts";
import { newRoleName, type RoleMark } from "./role-mark.ts";
import { randomPassword, scramVerifier } from "./scram.ts";
import { Sweep } from "./sweep.ts";

/** A role outlives its grant by this: clocks differ, and what the proxy ends by itself needs no help. */
export const leewayMs = 30_000;

/** One for each pod and connection; the same bound as for pods (grants/bindings.ts). */
const maxLeases = 20_000;

/** How late the end of a grant may be noticed here. */
const tickMs = 2_000;

/** One round of ending up to 50 roles; sessions that do not end take 3 s. */
const endTimeoutMs = 30_000;

/** What ends the process waits this long for roles to be dropped. */
const closeTimeoutMs = 5_000;

/** Sentences of one Connection in its status. */
const maxNotes = 10;

/** Sentences of one Connection that are remembered as logged. */
const maxSaid = 100;

export type LeasedPod = Pick<PodIdentity, "namespace" | "serviceAccount" | "pod" | "podUid">;

export interface LeaseRequest {
  readonly connection: Connection;
  readonly bundle: Bundle;
  readonly pod: LeasedPod;
  readonly ttlSeconds: number;
}

export interface RoleLeasesOptions {
  readonly governing: Governing;
  /** The same for every start of this Chaperone, another for every other. */
  readonly installation: string;
  readonly access: DatabaseAccess;
  /** False for a pod that can hold no grant any more; left out where nobody can tell. */
  readonly podExists?: (podUid: string) => boolean;
  /** The process is the only one: what it made goes with it. */
  readonly dropsAtClose: boolean;
  readonly random: () => number;
  /** For the log: what was tried on which connection, and the error. */
  readonly onProblem: (what: string, connection: string, error: unknown) => void;
  /** Also for the log: sentences of `LeaseOutcome.notes` that are new. */
  readonly onNotes: (connection: string, notes: readonly string[]) => void;
}

/** What a Connection's status says of its roles. */
export interface LeaseOutcome {
  readonly problem: { readonly reason: string; readonly message: string } | undefined;
  readonly notes: readonly string[];
}

interface Held {
  readonly name: string;
  readonly connection: string;
  readonly pod: LeasedPod;
  readonly target: AdminTarget;
  /** Undefined for a role that an earlier process made. */
  password: string | undefined;
  /** 0 until it was made. */
  expiresAt: number;
  notes: readonly string[];
  /** Whatever is being done to it in the database. */
  work: Promise<unknown>;
}

export class RoleLeases {
  readonly #options: RoleLeasesOptions;
  readonly #databases: Databases;
  readonly #ending: EndingRoles;
  readonly #sweep: Sweep;
  readonly #held = new Map<string, Held>();
  /** One exchange of a pod on a connection at a time. */
  readonly #busy = new Map<string, Promise<unknown>>();
  /** Why the last role of a Connection was not made; bounded by the Connections that exist. */
  readonly #failures = new Map<string, LeaseRefused>();
  /** Sentences that were logged; bounded alike, and by `maxSaid` for each. */
  readonly #said = new Map<string, Set<string>>();
  readonly #ticker: NodeJS.Timeout;
  readonly #unsubscribe: () => void;
  readonly #closing = new AbortController();

  constructor(options: RoleLeasesOptions) {
    this.#options = options;
    const { governing, access, random, onProblem } = options;
    const { view } = governing;
    this.#databases = new Databases(view, access);
    this.#ending = new EndingRoles({
      now: governing.now,
      random,
      end: async (target, roles, gone) => {
        const signal = AbortSignal.any([AbortSignal.timeout(endTimeoutMs), this.#closing.signal]);
        await this.#databases.end(target, roles, gone, signal);
      },
      onProblem: (role, error) => onProblem("role-not-dropped", role.connection, error),
    });
    this.#sweep = new Sweep({
      connections: () => view.allConnections(),
      look: async (connection, signal) => {
        const target = await this.#databases.targetOf(connection, signal);
        const found = await this.#databases.find(target, signal);
        for (const role of found.roles) this.#settle(role, found, target);
      },
      onProblem: (connection, error) => onProblem("sweep-failed", connection, error),
    });
    this.#unsubscribe = view.onChange((change) => this.#onChange(change));
    this.#ticker = setInterval(() => this.#tick(), tickMs);
    this.#ticker.unref();
  }

  /** Makes the role of a grant, or gives it more time and the privileges that are due now. Throws LeaseRefused, or the signal's reason. */
  async lease(request: LeaseRequest, signal: AbortSignal): Promise<Lease> {
    const key = keyOf(request.pod.podUid, connectionName(request.connection));
    const before = this.#busy.get(key) ?? Promise.resolve();
    const making = before.then(() => this.#lease(key, request, signal));
    const settled = making.then(noop, noop);
    this.#busy.set(key, settled);
    try {
      return await making;
    } finally {
      if (this.#busy.get(key) === settled) this.#busy.delete(key);
    }
  }

  /** The grants of the pod are over, all or the one on `connection`: its sessions end in the database now. */
  end(podUid: string, connection?: string): void {
    for (const [key, held] of this.#held)
      if (
        held.pod.podUid === podUid &&
        (connection === undefined || held.connection === connection)
      )
        this.#end(key, held);
  }

  outcome(connection: string): LeaseOutcome {
    const problem = this.#sweep.problem(connection) ?? this.#failures.get(connection);
    const notes = [...this.#held.values()].flatMap((held) =>
      held.connection === connection ? held.notes : [],
    );
    return {
      problem: problem && { reason: problem.reason, message: problem.message },
      notes: [...new Set(notes)].slice(0, maxNotes),
    };
  }

  /** Looks in every database for roles that nobody ended. Never rejects. */
  sweep(): Promise<void> {
    return this.#sweep.run();
  }

  async close(): Promise<void> {
    clearInterval(this.#ticker);
    this.#unsubscribe();
    await this.#sweep.close();
    if (this.#options.dropsAtClose) {
      for (const [key, held] of this.#held) this.#end(key, held);
      await this.#ending.settled(AbortSignal.timeout(closeTimeoutMs));
    }
    this.#closing.abort(new Error("shutting down"));
    await Promise.all([this.#ending.close(), ...this.#busy.values()]);
  }

  async #lease(key: string, request: LeaseRequest, outer: AbortSignal): Promise<Lease> {
    const signal = AbortSignal.any([outer, this.#closing.signal]);
    const { connection } = request;
    const name = connectionName(connection);
    const target = await this.#databases.targetOf(connection, signal);
    // The pod may have a role of an earlier process, with sessions on it.
    if (!this.#held.has(key)) await this.#sweep.first(connection, signal);
    const held = this.#heldFor(key, target, request.pod);
    const making = this.#make(held, target, request, signal);
    held.work = making.then(noop, noop);
    try {
      const password = await making;
      if (this.#held.get(key) !== held)
        throw new LeaseRefused(
          "RoleNotMade",
          `connection ${name}: the grant ended while its role was being made`,
          { temporary: true },
        );
      this.#failures.delete(name);
      this.#say(name, held.notes);
      return { kind: "password", username: held.name, password };
    } catch (error) {
      if (error instanceof LeaseRefused) this.#failures.set(name, error);
      // Whether a role that was never handed out stands or not: nobody needs it.
      if (held.expiresAt === 0) this.#end(key, held);
      throw error;
    }
  }

  /** The role that the pod has in this database, or the name of one to be made. */
  #heldFor(key: string, target: AdminTarget, pod: LeasedPod): Held {
    const known = this.#held.get(key);
    if (known !== undefined && isSameDatabase(known.target, target)) return known;
    if (known !== undefined) this.#end(key, known);
    const { connection } = target;
    if (this.#held.size >= maxLeases)
      throw new LeaseRefused(
        "TooManyLeases",
        `connection ${connection}: ${maxLeases} roles are held already`,
        { temporary: true },
      );
    const held = newHeld(newRoleName(), pod, target, 0);
    this.#held.set(key, held);
    return held;
  }

  /** Resolves with the password of the role. */
  async #make(
    held: Held,
    target: AdminTarget,
    { bundle, ttlSeconds }: LeaseRequest,
    signal: AbortSignal,
  ): Promise<string> {
    const { installation, governing } = this.#options;
    const password = held.password ?? randomPassword();
    const { namespace, pod, podUid, serviceAccount } = held.pod;
    const lifeMs = ttlSeconds * 1000 + leewayMs;
    const { connection, database } = target;
    const request = {
      name: held.name,
      verifier: await scramVerifier(password),
      setsPassword: held.password === undefined,
      mark: { installation, connection, database, namespace, pod, podUid, serviceAccount },
      bundle,
      lifeMs,
    };
    const { notes } = await this.#databases.make(target, request, signal);
    held.password = password;
    held.expiresAt = governing.now() + lifeMs;
    held.notes = notes;
    return password;
  }

  #end(key: string, held: Held, ifExpired = false): void {
    if (this.#held.get(key) === held) this.#held.delete(key);
    const { name, connection, target, work } = held;
    this.#ending.add({ name, connection, target, made: work, ifExpired });
  }

  #onChange({ kind, namespace, name }: ResourceChange): void {
    switch (kind) {
      case "Quarantine":
      case "ClusterAccessPolicy":
        return this.#endUngoverned(() => true);
      case "Connection":
        return this.#endUngoverned(({ connection }) => connection === `${namespace}/${name}`);
      case "AccessPolicy":
        return this.#endUngoverned(({ connection }) => connection.startsWith(`${namespace}/`));
      case "Secret":
      case "Pod":
      case "ConfigMap":
        return;
      default:
        return kind satisfies never;
    }
  }

  #endUngoverned(selects: (held: Held) => boolean): void {
    for (const [key, held] of this.#held)
      if (selects(held) && !this.#isGoverned(held)) this.#end(key, held);
  }

  #isGoverned({ pod, connection }: Held): boolean {
    const governed = govern(this.#options.governing, pod, pod, connection);
    return (
      !("refused" in governed) && governed.connection.spec.credential?.postgresRole !== undefined
    );
  }

  #tick(): void {
    const { now, view } = this.#options.governing;
    const at = now();
    for (const [key, held] of this.#held)
      if (held.expiresAt !== 0 && held.expiresAt <= at) this.#end(key, held, true);
    for (const map of [this.#failures, this.#said])
      for (const connection of map.keys()) {
        const [namespace = "", name = ""] = connection.split("/");
        if (view.connection(namespace, name) === undefined) map.delete(connection);
      }
  }

  #say(connection: string, notes: readonly string[]): void {
    const known = this.#said.get(connection);
    const said = known === undefined || known.size > maxSaid ? new Set<string>() : known;
    const news = notes.filter((note) => !said.has(note));
    if (news.length === 0) return;
    for (const note of news) said.add(note);
    this.#said.set(connection, said);
    this.#options.onNotes(connection, news);
  }

  /** Takes over a role of an earlier process that a pod may still be using; ends one that nobody can be. */
  #settle({ name, mark }: FoundRole, { now }: FoundRoles, target: AdminTarget): void {
    if (!this.#isOurs(mark, now, target) || this.#ending.has(name)) return;
    const key = keyOf(mark.podUid, target.connection);
    const known = this.#held.get(key);
    if (known?.name === name) return;
    const lifeMs = Math.max(1, mark.expiresAt - now);
    const held = newHeld(name, mark, target, this.#options.governing.now() + lifeMs);
    const isOrphan = this.#options.podExists?.(mark.podUid) === false;
    const isUsable = mark.connection === target.connection && mark.expiresAt > now && !isOrphan;
    if (isUsable && known === undefined && this.#isGoverned(held)) this.#held.set(key, held);
    else this.#end(key, held, mark.expiresAt <= now);
  }

  /** Made by us in this very database, for this Connection or for one that is no more. */
  #isOurs(mark: RoleMark, now: number, target: AdminTarget): boolean {
    if (mark.installation !== this.#options.installation || mark.database !== target.database)
      return false;
    if (mark.connection === target.connection) return true;
    const [namespace = "", name = ""] = mark.connection.split("/");
    const { view } = this.#options.governing;
    return mark.expiresAt <= now && view.connection(namespace, name) === undefined;
  }
}

function newHeld(name: string, pod: LeasedPod, target: AdminTarget, expiresAt: number): Held {
  return {
    name,
    connection: target.connection,
    pod,
    target,
    password: undefined,
    expiresAt,
    notes: [],
    work: Promise.resolve(),
  };
}

function keyOf(podUid: string, connection: string): string {
  return `${podUid} ${connection}`;
}

function noop(): void {}
