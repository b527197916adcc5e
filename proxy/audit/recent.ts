// The unshipped records that are still in memory: always the newest, without holes, so that shipping them reads no file.
import type { SpoolRecord } from "./record.ts";

export class RecentRecords {
  readonly #limitBytes: number;
  readonly #records = new Map<number, SpoolRecord>();
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get all(): ReadonlyMap<number, SpoolRecord> {
    return this.#records;
  }

  /** What is not durable yet is kept even over the limit: a restart of the stream takes it from here. The writer bounds it. */
  add(record: SpoolRecord, durableSeq: number): void {
    this.#records.set(record.event.header.seq, record);
    this.#bytes += record.line.length;
    if (this.#bytes <= this.#limitBytes) return;
    for (const seq of this.#records.keys()) {
      if (this.#bytes <= this.#limitBytes || seq > durableSeq) return;
      this.#drop(seq);
    }
  }

  forgetUpTo(last: number): void {
    for (const seq of this.#records.keys()) {
      if (seq > last) return;
      this.#drop(seq);
    }
  }

  clear(): void {
    this.#records.clear();
    this.#bytes = 0;
  }

  /** The run from `from` to `last`, or undefined when it does not start here. */
  run(from: number, last: number): readonly SpoolRecord[] | undefined {
    const first = this.#records.get(from);
    if (first === undefined || from > last) return undefined;
    const records = [first];
    for (let seq = from + 1; seq <= last; seq += 1) {
      const record = this.#records.get(seq);
      if (record === undefined) break;
      records.push(record);
    }
    return records;
  }

  get(seq: number): SpoolRecord | undefined {
    return this.#records.get(seq);
  }

  #drop(seq: number): void {
    this.#bytes -= this.#records.get(seq)?.line.length ?? 0;
    this.#records.delete(seq);
  }
}
