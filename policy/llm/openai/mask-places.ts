// Where the texts of a streamed answer stand: found anew for each delta by two or three look-ups, as the same places speak over and over.
import { NotMaskable } from "../../mask/stream-json.ts";
import { isObject, maxDepth, type JsonObject } from "../json.ts";
import type { PieceOf } from "../mask-texts.ts";
import { tooDeep } from "../mask-value.ts";

/** A member, or an item of a list with what tells it from the others: its index, or its id. */
type Step = string | JsonObject;

/** The event, as it goes out, in which a text was last gone on with. */
export interface Head {
  event: JsonObject;
}

/** An event's members around what is held back. */
type Around = (carried: JsonObject) => JsonObject;

/** Of one stream, at a time: texts, and the objects and lists around them. */
const maxPlaces = 4_096;

export class Places {
  readonly #roots = new Map<string, Map<string, Place>>();
  #count = 0;

  /** The member of a part in which its deltas stand. Throws NotMaskable. */
  of(part: string, name: string, around: Around): Place {
    let roots = this.#roots.get(part);
    if (roots === undefined) this.#roots.set(part, (roots = new Map()));
    let root = roots.get(name);
    if (root === undefined) {
      root = new Place([name], { part, around, count: () => this.#countOne() });
      roots.set(name, root);
      this.#countOne();
    }
    return root;
  }

  /** These parts are over. */
  leave(isOver: (part: string) => boolean): void {
    for (const part of this.#roots.keys()) if (isOver(part)) this.#roots.delete(part);
    if (this.#roots.size === 0) this.#count = 0;
  }

  #countOne(): void {
    this.#count += 1;
    if (this.#count > maxPlaces)
      throw new NotMaskable(`the stream carries texts in more than ${maxPlaces} places`);
  }
}

interface Part {
  readonly part: string;
  readonly around: Around;
  readonly count: () => void;
}

export class Place {
  readonly path: readonly string[];
  readonly #steps: readonly Step[];
  readonly #of: Part;
  readonly #members = new Map<string, Place>();
  readonly #items = new Map<string, Place>();
  #head: Head = { event: {} };
  readonly #piece: PieceOf<JsonObject>;

  constructor(steps: readonly Step[], of: Part) {
    if (steps.length > maxDepth) throw tooDeep();
    this.#steps = steps;
    this.#of = of;
    this.path = steps.filter((step) => typeof step === "string");
    this.#piece = {
      key: `${of.part} ${JSON.stringify(steps)}`,
      part: of.part,
      carry: (rest) => {
        const { choices: _choices, usage: _usage, ...head } = this.#head.event;
        return { ...head, ...of.around(nested(this.#steps, rest)) };
      },
    };
  }

  member(name: string): Place {
    return this.#below(this.#members, name, name);
  }

  item(step: JsonObject): Place {
    return this.#below(this.#items, JSON.stringify(step), step);
  }

  /** A piece of the text that stands here, in this event. */
  goesOn(head: Head): PieceOf<JsonObject> {
    this.#head = head;
    return this.#piece;
  }

  #below(places: Map<string, Place>, key: string, step: Step): Place {
    const known = places.get(key);
    if (known !== undefined) return known;
    this.#of.count();
    const made = new Place([...this.#steps, step], this.#of);
    places.set(key, made);
    return made;
  }
}

function nested(steps: readonly Step[], value: unknown): JsonObject {
  const inner = steps.reduceRight<unknown>(
    (below, step) =>
      typeof step === "string" ? { [step]: below } : [{ ...step, ...(isObject(below) && below) }],
    value,
  );
  return isObject(inner) ? inner : {};
}
