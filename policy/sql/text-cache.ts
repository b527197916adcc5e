// Remembers results by text, least recently used first out, bounded in entries and in bytes.

export interface TextCache<Value> {
  get(text: string): Value | undefined;
  /** @param extraBytes what the value takes besides the text, estimated. */
  set(text: string, value: Value, extraBytes: number): void;
  clear(): void;
  readonly size: () => number;
}

/** JavaScript strings take up to two bytes a character. */
const bytesPerCharacter = 2;
/** One entry may take at most this part of the whole, so that a few giants cannot push out everything else. */
const largestShare = 1 / 16;

export function createTextCache<Value>(maxEntries: number, maxBytes: number): TextCache<Value> {
  const entries = new Map<string, { readonly value: Value; readonly bytes: number }>();
  let total = 0;
  const remove = (text: string): void => {
    total -= entries.get(text)?.bytes ?? 0;
    entries.delete(text);
  };
  return {
    get: (text) => {
      const entry = entries.get(text);
      if (entry === undefined) return undefined;
      entries.delete(text);
      entries.set(text, entry);
      return entry.value;
    },
    set: (text, value, extraBytes) => {
      const bytes = text.length * bytesPerCharacter + extraBytes;
      if (bytes > maxBytes * largestShare) return;
      remove(text);
      entries.set(text, { value, bytes });
      total += bytes;
      for (const oldest of entries.keys()) {
        if (entries.size <= maxEntries && total <= maxBytes) break;
        remove(oldest);
      }
    },
    clear: () => {
      entries.clear();
      total = 0;
    },
    size: () => entries.size,
  };
}
