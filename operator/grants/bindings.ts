// Which key speaks for a pod: the first one seen binds to the pod uid, another is accepted only after our container restarted.

/** Live pods of a cluster as large as we say we serve, and as many again that are going. */
export const maxBindings = 20_000;

/** One key bound to one pod; it travels inside every grant, so that any replica, also a new one, learns it again from the grants it meets. */
export interface Binding {
  /** RFC 7638 thumbprint. */
  readonly jkt: string;
  /** Milliseconds since 1970 by the operator's clock: when this key was first seen. */
  readonly boundAt: number;
  /** Start of our container when the key was bound, milliseconds since 1970; 0 while the kubelet had not reported it. */
  readonly startedAt: number;
}

export type BindingVerdict =
  | { readonly bound: Binding; readonly replaced?: Binding }
  | { readonly refused: "KeyAlreadyBound" | "TooManyPods"; readonly message: string };

/** How much later than the binding a container must have started to count as restarted: node and operator clocks differ, and the report has whole seconds. */
const restartMarginMs = 1_000;

/** A container that started after the key was bound cannot be the one that bound it. */
export function isRestart(binding: Binding, startedAt: number): boolean {
  return binding.startedAt === 0
    ? startedAt > binding.boundAt + restartMarginMs
    : startedAt > binding.startedAt;
}

/** Of two keys for one pod: the one of the later container; within one container, the one that came first. The same for every order of arrival. */
export function prevailing(a: Binding, b: Binding): Binding {
  if (a.jkt === b.jkt)
    return {
      jkt: a.jkt,
      boundAt: Math.min(a.boundAt, b.boundAt),
      startedAt: Math.max(a.startedAt, b.startedAt),
    };
  if (a.startedAt !== b.startedAt && a.startedAt !== 0 && b.startedAt !== 0)
    return a.startedAt > b.startedAt ? a : b;
  if (a.boundAt === b.boundAt) return a.jkt < b.jkt ? a : b;
  const [first, second] = a.boundAt < b.boundAt ? [a, b] : [b, a];
  return second.startedAt !== 0 && isRestart(first, second.startedAt) ? second : first;
}

export class KeyBindings {
  readonly #now: () => number;
  readonly #byPod = new Map<string, Binding>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** A proven token of `podUid` came with a proof by `jkt`. `proxyStartedAt` as the kubelet reports it. */
  bind(podUid: string, jkt: string, proxyStartedAt: string | undefined): BindingVerdict {
    const startedAt = proxyStartedAt === undefined ? 0 : Date.parse(proxyStartedAt) || 0;
    const known = this.#byPod.get(podUid);
    if (known === undefined && this.#byPod.size >= maxBindings) {
      return {
        refused: "TooManyPods",
        message: `this operator already serves ${maxBindings} pods; add a replica`,
      };
    }
    if (known !== undefined && known.jkt !== jkt && !isRestart(known, startedAt)) {
      return {
        refused: "KeyAlreadyBound",
        message:
          "another key already speaks for this pod, and its chaperone-proxy container has not restarted since; delete the pod if this was not you",
      };
    }
    const bound: Binding =
      known !== undefined && known.jkt === jkt
        ? { ...known, startedAt: Math.max(known.startedAt, startedAt) }
        : { jkt, boundAt: this.#now(), startedAt };
    this.#byPod.set(podUid, bound);
    return known !== undefined && known.jkt !== jkt ? { bound, replaced: known } : { bound };
  }

  /**
   * A grant signed by us came in: what it says about its key counts even when this replica never saw it. False when
   * another key prevails, and the grant is therefore void.
   */
  observe(podUid: string, binding: Binding): boolean {
    const known = this.#byPod.get(podUid);
    if (known === undefined && this.#byPod.size >= maxBindings) return false;
    const winner = known === undefined ? binding : prevailing(known, binding);
    this.#byPod.set(podUid, winner);
    return winner.jkt === binding.jkt;
  }

  get(podUid: string): Binding | undefined {
    return this.#byPod.get(podUid);
  }

  forgetPod(podUid: string): void {
    this.#byPod.delete(podUid);
  }
}
