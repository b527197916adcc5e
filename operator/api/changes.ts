// Finds out whom a change of a Connection, a policy or a Secret touches, by comparing what governs before and after; costs what it touches.
import { createHash } from "node:crypto";
import type { Connection } from "../../crds/types.gen.ts";
import type { Bundle } from "../../policy/bundle.ts";
import {
  allowsNamespace,
  govern,
  secretsOf,
  type Governed,
  type Governing,
} from "../grants/govern.ts";
import type { ResourceChange } from "../resources.ts";

/** Compiling for many subjects gives other work a turn after this. */
const turnMs = 8;

export type Outcome =
  | { readonly kind: "changed" }
  | { readonly kind: "revoked"; readonly reason: string; readonly message: string };

export interface Touched {
  /** `namespace/name`. */
  readonly connection: string;
  /** `namespace/serviceAccount`. */
  readonly subject: string;
  readonly outcome: Outcome;
}

export interface ChangeSubject {
  readonly namespace: string;
  readonly serviceAccount: string;
}

interface SubjectState extends ChangeSubject {
  streams: number;
  /** Fingerprint of what last governed, by connection; a missing one counts as changed. Bounded by the connections that exist or were granted. */
  readonly known: Map<string, string>;
}

/** Follows the subjects that have a stream. */
export class ChangeTracker {
  readonly #governing: Governing;
  readonly #onTouched: (touched: Touched) => void;
  readonly #onProblem: (error: unknown) => void;
  readonly #subjects = new Map<string, SubjectState>();
  /** What each policy targeted when last seen: a policy that is deleted or retargeted touches its old targets too. Bounded by the policies seen. */
  readonly #targets = new Map<string, readonly string[]>();
  /** Connections to look at; true when they changed in a way no fingerprint shows (a Secret's value). */
  readonly #pending = new Map<string, boolean>();
  #draining: Promise<void> | undefined;
  #isClosed = false;

  constructor(
    governing: Governing,
    onTouched: (touched: Touched) => void,
    onProblem: (error: unknown) => void,
  ) {
    this.#governing = governing;
    this.#onTouched = onTouched;
    this.#onProblem = onProblem;
  }

  addSubject(subject: ChangeSubject): void {
    const key = subjectKey(subject);
    this.#seed(subject.namespace);
    const state = this.#subjects.get(key) ?? {
      namespace: subject.namespace,
      serviceAccount: subject.serviceAccount,
      streams: 0,
      known: new Map<string, string>(),
    };
    state.streams += 1;
    this.#subjects.set(key, state);
  }

  /** Learns what the policies target before one of them changes. */
  #seed(namespace: string): void {
    if ([...this.#subjects.values()].some((state) => state.namespace === namespace)) return;
    for (const { metadata, spec } of this.#governing.view.policiesIn(namespace)) {
      this.#targets.set(`${namespace}/${metadata.name}`, targetsOf(namespace, spec.targetRefs));
    }
  }

  removeSubject(subject: ChangeSubject): void {
    const state = this.#subjects.get(subjectKey(subject));
    if (state === undefined) return;
    state.streams -= 1;
    if (state.streams <= 0) this.#subjects.delete(subjectKey(subject));
  }

  issued(subject: ChangeSubject, connection: Connection, bundle: Bundle): void {
    this.#subjects
      .get(subjectKey(subject))
      ?.known.set(nameOf(connection), fingerprint({ connection, bundle }));
  }

  changed(change: ResourceChange): void {
    if (this.#isClosed) return;
    for (const [name, isForced] of this.#affected(change))
      this.#pending.set(name, isForced || this.#pending.get(name) === true);
    if (this.#pending.size > 0) this.#draining ??= this.#drain();
  }

  /** Resolves when every change so far has been looked at. */
  async settled(): Promise<void> {
    await this.#draining;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#pending.clear();
    await this.#draining;
  }

  #affected({ kind, namespace, name }: ResourceChange): Map<string, boolean> {
    const { view } = this.#governing;
    switch (kind) {
      case "Connection":
        return new Map([[`${namespace}/${name}`, false]]);
      case "Secret":
        return new Map(
          view
            .connectionsIn(namespace)
            .filter((connection) => secretsOf(connection).includes(name))
            .map((connection) => [nameOf(connection), true]),
        );
      case "AccessPolicy":
        return new Map(this.#retarget(namespace, name).map((connection) => [connection, false]));
      case "ClusterAccessPolicy":
      case "ConfigMap":
        // Whom it is about is seen when they are compared.
        return new Map([...view.allConnections()].map((one) => [nameOf(one), false]));
      case "Quarantine":
      case "Pod":
        return new Map();
      default:
        return kind satisfies never;
    }
  }

  /** Old and new targets of a policy; for one never seen before, every connection of the namespace, because it may have targeted any. */
  #retarget(namespace: string, name: string): string[] {
    const { view } = this.#governing;
    const key = `${namespace}/${name}`;
    const policy = view.policiesIn(namespace).find(({ metadata }) => metadata.name === name);
    const before = this.#targets.get(key) ?? view.connectionsIn(namespace).map(nameOf);
    const after = policy === undefined ? [] : targetsOf(namespace, policy.spec.targetRefs);
    if (policy === undefined) this.#targets.delete(key);
    else this.#targets.set(key, after);
    return [...new Set([...before, ...after])];
  }

  async #drain(): Promise<void> {
    await nextTurn();
    try {
      for (let since = performance.now(); this.#pending.size > 0 && !this.#isClosed;) {
        const [next] = this.#pending;
        if (next === undefined) return;
        const [connection, isForced] = next;
        this.#pending.delete(connection);
        for (const state of this.#subjectsOf(connection)) {
          try {
            this.#compare(state, connection, isForced);
          } catch (error) {
            this.#onProblem(error); // one pod's trouble keeps nobody else uninformed
          }
          if (performance.now() - since < turnMs) continue;
          await nextTurn();
          since = performance.now();
        }
      }
    } finally {
      // In the same turn as the last look at what is pending, or a change that comes now would be left lying.
      this.#draining = undefined;
    }
  }

  #subjectsOf(name: string): SubjectState[] {
    const [namespace = "", local = ""] = name.split("/");
    const connection = this.#governing.view.connection(namespace, local);
    return [...this.#subjects.values()].filter(
      (state) =>
        state.namespace === namespace ||
        state.known.has(name) ||
        (connection !== undefined && allowsNamespace(connection, state.namespace)),
    );
  }

  #compare(state: SubjectState, connection: string, isForced: boolean): void {
    const governed = govern(this.#governing, state, undefined, connection);
    const before = state.known.get(connection);
    const after = fingerprint(governed);
    if ("refused" in governed && governed.refused === "ConnectionNotFound")
      state.known.delete(connection);
    else state.known.set(connection, after);
    if (before === after && !(isForced && "bundle" in governed)) return;
    const outcome: Outcome =
      "refused" in governed
        ? { kind: "revoked", reason: governed.refused, message: governed.message }
        : { kind: "changed" };
    this.#onTouched({ connection, subject: subjectKey(state), outcome });
  }
}

function fingerprint(governed: Governed): string {
  if ("refused" in governed) return `refused ${governed.refused}`;
  const spec = createHash("sha256")
    .update(JSON.stringify(governed.connection.spec))
    .digest("base64url");
  return `${governed.bundle.generation} ${spec}`;
}

/** `namespace/serviceAccount`. */
export function subjectKey({ namespace, serviceAccount }: ChangeSubject): string {
  return `${namespace}/${serviceAccount}`;
}

function targetsOf(namespace: string, targetRefs: readonly { readonly name: string }[]): string[] {
  return targetRefs.map(({ name }) => `${namespace}/${name}`);
}

function nameOf({ metadata }: Connection): string {
  return `${metadata.namespace}/${metadata.name}`;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
