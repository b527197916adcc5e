// Remembers results by text, bounded in entries and in bytes; what has not been asked for lately goes first.
//
// Two generations: the young one takes new and recently used entries; when it is full it becomes the old one, and the old
// one's remains are forgotten. A hit costs one look-up, which reordering a Map on every hit would multiply.

export interface TextCache<Value> {
  get(text: string): Value | undefined;
  /** @param extraBytes what the value takes besides the text, estimated. */
  set(text: string, value: Value, extraBytes: number): void;
}

/** JavaScript strings take up to two bytes a character. */
const bytesPerCharacter = 2;
/** One entry may take at most this part of the whole, so that a few giants cannot push out everything else. */
const largestShare = 1 / 16;
const generations = 2;

interface Entry<Value> {
  readonly value: Value;
  readonly bytes: number;
}

/** @param maxEntries at least two. */
export function createTextCache<Value>(maxEntries: number, maxBytes: number): TextCache<Value> {
  let young = new Map<string, Entry<Value>>();
  let old = new Map<string, Entry<Value>>();
  let youngBytes = 0;
  const add = (text: string, entry: Entry<Value>): void => {
    if (
      young.size + 1 > maxEntries / generations ||
      youngBytes + entry.bytes > maxBytes / generations
    ) {
      old = young;
      young = new Map();
      youngBytes = 0;
    }
    youngBytes += entry.bytes - (young.get(text)?.bytes ?? 0);
    young.set(text, entry);
  };
  return {
    get: (text) => {
      const recent = young.get(text);
      if (recent !== undefined) return recent.value;
      const earlier = old.get(text);
      if (earlier === undefined) return undefined;
      old.delete(text);
      add(text, earlier);
      return earlier.value;
    },
    set: (text, value, extraBytes) => {
      const bytes = text.length * bytesPerCharacter + extraBytes;
      if (bytes <= maxBytes * largestShare) add(text, { value, bytes });
    },
  };
}
