// Names that readers of JSON may take for each other.

/** Equal for names that a reader which does not mind case (Go's encoding/json) takes for one: `Name`, and `K` (Kelvin) for `k`. */
export function foldName(name: string): string {
  return name.toUpperCase().toLowerCase();
}

/** A name that is none of the known ones, but that some reader takes for one of them. */
export function lookalike(
  value: Readonly<Record<string, unknown>>,
  known: readonly string[],
): string | undefined {
  return Object.keys(value).find(
    (name) => !known.includes(name) && known.some((one) => foldName(one) === foldName(name)),
  );
}
