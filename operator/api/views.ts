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

export class ProxyViews {
  readonly #now: () => number;
  readonly #byPod = new Map<string, KnownView>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** False when there is no room for another pod. */
  report(pod: ViewPod, view: ProxyView): boolean {
    if (!this.#byPod.has(pod.podUid) && this.#byPod.size >= maxViews) return false;
    this.#byPod.set(pod.podUid, { pod, view, receivedAt: this.#now() });
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
    this.#byPod.delete(podUid);
  }
}
