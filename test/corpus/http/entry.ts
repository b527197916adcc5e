// The form of the HTTP corpus: raw requests, and what of each an origin may see. Data alone; test/integration/http-corpus.test.ts plays it.

/** One request as the origin gets it. Framing and Host are checked for every one; what stands here is checked besides. */
export interface Seen {
  /** Method and target, exactly. */
  readonly line: string;
  /** The body without its framing; absent: none. */
  readonly body?: string;
  /** What follows it, exactly; absent: nothing. */
  readonly trailers?: readonly string[];
  /** Whatever its body is. */
  readonly anyBody?: true;
  /** Header lines that have to be there, lower-case name. */
  readonly has?: readonly string[];
  /** Header names that must not be there. */
  readonly lacks?: readonly string[];
  /** The proxy broke it off: the origin never sees its end. */
  readonly cut?: true;
}

export interface Entry {
  /** What it is, as the subject of a sentence. */
  readonly name: string;
  /** One character for each byte. */
  readonly bytes: string;
  /** In this order and nothing else; empty: it is refused and nothing of it reaches the origin. */
  readonly sees: readonly Seen[];
  /** Status of the refusal, where it matters which. */
  readonly status?: number;
  /** It ends where more has to come: its client leaves once the origin has the beginning. */
  readonly isUnfinished?: true;
  /** Refused in the protocol that it speaks. */
  readonly isOther?: true;
  /** The same on a connection that no path or query rule governs; absent: the same as `sees`. */
  readonly ungoverned?: readonly Seen[];
}

/** The Host of every request that is not about Host. */
export const H = "Host: a\r\n";
/** Wherever it arrives, something was smuggled. */
export const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

export function refused(name: string, bytes: string, status?: number): Entry {
  return { name, bytes, sees: [], ...(status !== undefined && { status }) };
}

export function reaches(name: string, bytes: string, ...sees: readonly Seen[]): Entry {
  return { name, bytes, sees };
}
