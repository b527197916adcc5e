// The guard against loops: how often one pod may send the very same operation on one connection. In memory, because it is about seconds.
import type { RepeatLimit } from "../../policy/bundle.ts";
import { RateWindow } from "../limits.ts";

/** Different operations remembered of one connection; an agent that sends more of them is in no loop. The eldest goes first. */
const maxDigests = 4_096;

export class Repeats {
  /** By digest and length of time. */
  readonly #windows = new Map<string, RateWindow>();

  /** The limit that one more of this operation would break; undefined where it may go, which counts it. */
  take(digest: string, limits: readonly RepeatLimit[], now: number): RepeatLimit | undefined {
    return limits.find(
      ({ max, withinSeconds }) => !this.#window(digest, withinSeconds).take(now, max),
    );
  }

  #window(digest: string, withinSeconds: number): RateWindow {
    const key = `${withinSeconds} ${digest}`;
    const known = this.#windows.get(key);
    // Those that are used stay behind those that are not.
    if (known !== undefined) this.#windows.delete(key);
    else if (this.#windows.size >= maxDigests) {
      const eldest = this.#windows.keys().next().value;
      if (eldest !== undefined) this.#windows.delete(eldest);
    }
    const window = known ?? new RateWindow(withinSeconds * 1_000);
    this.#windows.set(key, window);
    return window;
  }
}
