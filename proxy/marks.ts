// The one session of a pod across its connections: which marks it carries, and since when. A mark is kept on disk before what put it reaches the
// agent, so that neither a parallel request nor a restart of this container forgets it. It lasts as long as the pod.
import type { CarriedMark } from "../contract/event.ts";
import { ProxyError } from "./errors.ts";

/** Policies name few classes of data; each mark is a line in every decision's scope and in the file. */
export const maxMarks = 256;

/** Where the marks are kept between two starts of the container. */
export interface MarkStore {
  /** Throws where what is kept cannot be read: then nobody knows what the pod has read. */
  read(): readonly CarriedMark[];
  /** Durable when it returns. */
  write(marks: readonly CarriedMark[]): void;
}

export const forgetful: MarkStore = { read: () => [], write: () => undefined };

export class PodMarks {
  readonly #store: MarkStore;
  readonly #carried = new Map<string, CarriedMark>();
  readonly #watchers = new Set<() => void>();
  #names: readonly string[] = [];
  #isKept = true;

  constructor(store: MarkStore = forgetful) {
    this.#store = store;
    for (const mark of store.read()) this.#carried.set(mark.name, mark);
    this.#names = [...this.#carried.keys()];
  }

  /** What conditions see as `session.marks`; another list as soon as there is another mark. */
  get names(): readonly string[] {
    return this.#names;
  }

  has(name: string): boolean {
    return this.#carried.has(name);
  }

  /** Carried and on disk. */
  keeps(name: string): boolean {
    return this.#isKept && this.#carried.has(name);
  }

  /** How each of these came to be. */
  of(names: readonly string[]): readonly CarriedMark[] {
    return names.flatMap((name) => this.#carried.get(name) ?? []);
  }

  /** Throws ProxyError when it cannot be kept; it is carried all the same. */
  add(mark: CarriedMark): void {
    if (this.keeps(mark.name)) return;
    if (!this.has(mark.name)) this.#carry(mark);
    try {
      this.#isKept = false;
      this.#store.write([...this.#carried.values()]);
      this.#isKept = true;
    } catch (cause) {
      throw new ProxyError(
        "RecordingUnavailable",
        `the mark ${mark.name} of this pod's session cannot be kept on disk, so what put it is not shown`,
        { cause },
      );
    }
  }

  #carry(mark: CarriedMark): void {
    if (this.#carried.size >= maxMarks)
      throw new ProxyError(
        "LimitExceeded",
        `the session of this pod carries ${maxMarks} marks, and the mark ${mark.name} finds no room; use fewer marks in its policies`,
      );
    this.#carried.set(mark.name, mark);
    this.#names = [...this.#carried.keys()];
    for (const watcher of this.#watchers) watcher();
  }

  /** Calls at each new mark, before anything marked reaches the agent, until the returned function is called. */
  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }
}
