// What every proxy says it enforces, and how old that is.
import type { ProxyView } from "../../contract/control.ts";
import type { Quarantine } from "../../crds/types.gen.ts";
import { confirmation, type Confirmation, type ReportedView } from "../quarantine/confirm.ts";

/** As many pods as key bindings are kept for. */
export const maxViews = 20_000;

/** Who reports: the subject of its pod grant. */
export interface ViewPod {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly pod: string;
  readonly podUid: string;
}

export interface KnownView extends ReportedView {
  readonly pod: ViewPod;
}

/** Told the namespaces of the Connections that a proxy came to hold rules for, or holds others of, or holds no more. */
export type ViewListener = (namespaces: ReadonlySet<string>) => void;

export class ProxyViews {
  readonly #now: () => number;
  readonly #listeners: ViewListener[] = [];
  readonly #byPod = new Map<string, KnownView>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** False when there is no room for another pod. */
  report(pod: ViewPod, view: ProxyView): boolean {
    const before = this.#byPod.get(pod.podUid)?.view;
    if (before === undefined && this.#byPod.size >= maxViews) return false;
    this.#byPod.set(pod.podUid, { pod, view, receivedAt: this.#now() });
    this.#tell(before, view);
    return true;
  }

  get(podUid: string): KnownView | undefined {
    return this.#byPod.get(podUid);
  }

  /** Oldest first. */
  list(): KnownView[] {
    return [...this.#byPod.values()].sort((a, b) => a.receivedAt - b.receivedAt);
  }

  ageMs(podUid: string): number | undefined {
    const known = this.#byPod.get(podUid);
    return known === undefined ? undefined : this.#now() - known.receivedAt;
  }

  confirm(
    quarantine: Quarantine,
    addedAt: number,
    operatorNamespace: string | undefined,
  ): Confirmation {
    return confirmation(quarantine, addedAt, this.#byPod.values(), operatorNamespace);
  }

  forgetPod(podUid: string): void {
    const before = this.#byPod.get(podUid)?.view;
    this.#byPod.delete(podUid);
    this.#tell(before, undefined);
  }

  /** Most reports say what the one before said: they are nobody's news. */
  onChange(listener: ViewListener): void {
    this.#listeners.push(listener);
  }

  #tell(before: ProxyView | undefined, after: ProxyView | undefined): void {
    if (this.#listeners.length === 0) return;
    const held = heldRules(before);
    const holds = heldRules(after);
    const changed = [
      ...[...held].filter((rules) => !holds.has(rules)),
      ...[...holds].filter((rules) => !held.has(rules)),
    ];
    if (changed.length === 0) return;
    const namespaces = new Set(changed.map((rules) => rules.slice(0, rules.indexOf("/"))));
    for (const listener of this.#listeners) listener(namespaces);
  }
}

/** `namespace/name bundle` of each Connection. */
function heldRules(view: ProxyView | undefined): ReadonlySet<string> {
  return new Set(view?.connections.map(({ connection, bundle }) => `${connection} ${bundle}`));
}
