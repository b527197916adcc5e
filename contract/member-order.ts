// In which order the members of an object are written: by name. Objects of one kind bring the same names in the same order again and
// again, so the order is worked out once for each such row of names.

/** A member as it is written. */
export interface Member {
  /** Where it stands among the object's own names. */
  readonly at: number;
  /** `,"name":` as UTF-8. */
  readonly lead: Uint8Array;
}

/** Rows of names that are remembered, counted with their beginnings; names can be an agent's, so more begin anew. */
const maxSteps = 2_048;
/** A longer name is some agent's. */
const maxKnownNameLength = 64;

/** One name of a row, and what followed it so far. */
class Step {
  readonly name: string;
  readonly before: Step | undefined;
  order: readonly Member[] | undefined;
  #latest: Step | undefined;
  readonly #others = new Map<string, Step>();

  constructor(name: string, before: Step | undefined) {
    this.name = name;
    this.before = before;
  }

  next(name: string): Step | undefined {
    const latest = this.#latest;
    if (latest !== undefined && latest.name === name) return latest;
    const known = this.#others.get(name);
    if (known !== undefined) this.#latest = known;
    return known;
  }

  add(name: string): Step {
    const step = new Step(name, this);
    this.#others.set(name, step);
    this.#latest = step;
    return step;
  }
}

export class MemberOrders {
  readonly #leadOf: (name: string) => Uint8Array;
  #start = new Step("", undefined);
  #steps = 0;

  /** @param leadOf throws for a name that cannot be written; it is asked again each time then */
  constructor(leadOf: (name: string) => Uint8Array) {
    this.#leadOf = leadOf;
  }

  /** By UTF-16 code unit, which is the order that RFC 8785 section 3.2.3 asks for, and the one of the default sort. */
  of(names: readonly string[]): readonly Member[] {
    let step = this.#start;
    for (const name of names) {
      const next = step.next(name) ?? this.#follow(step, name);
      if (next === undefined) return this.#sorted(names);
      step = next;
    }
    step.order ??= this.#sorted(names);
    return step.order;
  }

  #follow(step: Step, name: string): Step | undefined {
    if (name.length > maxKnownNameLength) return undefined;
    if (this.#steps === maxSteps) {
      this.#start = new Step("", undefined);
      this.#steps = 0;
      return undefined;
    }
    this.#steps += 1;
    return step.add(name);
  }

  #sorted(names: readonly string[]): readonly Member[] {
    return names
      .map((name, at) => ({ name, at }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map(({ name, at }) => ({ at, lead: this.#leadOf(name) }));
  }
}
