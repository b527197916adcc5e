// The one normalised path of a request, and the one spelling in which it is sent. A path that two readers could read differently has neither.

export type NormalisedPath =
  | {
      /** Decoded: what rules and events speak of. */
      readonly path: string;
      /** Its one spelling in a request line. */
      readonly sent: string;
    }
  | { readonly problem: string };

/** Longest request target looked at; servers commonly refuse more than 8 KiB. */
export const maxTargetLength = 16_384;

/** What is its own spelling: nothing encoded, nothing that would have to be, and no segment that is empty or of dots. */
const settled = /^\/[-A-Za-z0-9._~!$&'()*,=:@/]*$/;
const unsettled = /\/(?:\/|\.+(?:\/|$))/;
/** Characters a client may leave as they are (RFC 3986 section 3.3), and those that all servers read alike all the same. */
const plain = /^[-A-Za-z0-9._~!$&'()*+,=:@%/"<>^`{|}[\]]*$/;
const utf8 = { fatal: true, ignoreBOM: true } as const;

interface Check {
  readonly refuses: RegExp;
  readonly problem: string;
}

/** On the path as it was sent. */
const rawChecks: readonly Check[] = [
  { refuses: /\\/, problem: "the path contains a backslash, which some servers read as a slash" },
  { refuses: /;/, problem: "the path contains `;` parameters, which some servers cut off" },
  { refuses: /#/, problem: "the path contains `#`, which some servers take for a fragment" },
  { refuses: /\/\//, problem: "the path contains `//`, which some servers read as one slash" },
  {
    refuses: /\/\.+(\/|$)/,
    problem: "the path contains a segment like `.` or `..`, which some servers resolve or drop",
  },
  {
    refuses: /%2f/i,
    problem: "the path contains an encoded slash, which some servers read as a slash",
  },
  {
    refuses: /%5c/i,
    problem: "the path contains an encoded backslash, which some servers read as a slash",
  },
  {
    refuses: /%2e/i,
    problem: "the path contains an encoded dot, which some servers read as part of `..`",
  },
  {
    refuses: /%3b/i,
    problem: "the path contains an encoded `;`, which some servers read as the start of parameters",
  },
];

/** On the decoded path. */
const decodedChecks: readonly Check[] = [
  {
    refuses: /%[0-9A-Fa-f]{2}/,
    problem: "the path is encoded twice, and some servers decode twice",
  },
  { refuses: /[\p{Cc}\p{Zl}\p{Zp}]/u, problem: "the path contains a control character" },
  {
    refuses: /\/[. ]+(\/|$)/,
    problem: "the path contains a segment of dots and blanks, which some servers drop or resolve",
  },
  {
    refuses: /[\p{Cf}\u2044\u2215]/u,
    problem: "the path contains a character that looks like another or like none",
  },
];

/** What a server that folds compatible characters (NFKC) could find in a path that has none of it. */
const structure = /[/\\%;?#]/g;
const dotSegment = /\/[. ]+(\/|$)/;

/**
 * Decodes the path of a request target (without query) once.
 *
 * The spelling that is sent is made from what was decoded, so that servers which match on the text as it came read the
 * decided path too: unreserved and most reserved characters as they are, everything else as `%XX` in capitals. `+` is
 * encoded, since some servers read it as a space.
 *
 * @param raw as sent, beginning with `/`
 */
export function normalisePath(raw: string): NormalisedPath {
  if (raw.length > maxTargetLength)
    return { problem: `the path is longer than ${maxTargetLength} characters` };
  if (settled.test(raw) && !unsettled.test(raw)) return { path: raw, sent: raw };
  if (!raw.startsWith("/")) return { problem: "the path does not begin with a slash" };
  const refused = rawChecks.find(({ refuses }) => refuses.test(raw));
  if (refused) return { problem: refused.problem };
  if (!plain.test(raw))
    return { problem: "the path contains a character that has to be percent-encoded" };
  const path = decode(raw);
  if (path === undefined)
    return { problem: "the path has an invalid percent-encoding or is no UTF-8" };
  const strange = decodedProblem(path);
  return strange === undefined ? { path, sent: encodePath(path) } : { problem: strange };
}

function decodedProblem(path: string): string | undefined {
  const strange = decodedChecks.find(({ refuses }) => refuses.test(path));
  if (strange) return strange.problem;
  const folded = path.normalize("NFKC");
  const isAlike =
    folded === path ||
    (countStructure(folded) === countStructure(path) && !dotSegment.test(folded));
  return isAlike ? undefined : "the path contains a character that looks like another or like none";
}

function countStructure(text: string): number {
  return text.match(structure)?.length ?? 0;
}

/** `encodeURI` leaves what RFC 3986 allows in a whole URL; in a path these three mean something else. */
function encodePath(path: string): string {
  return encodeURI(path).replaceAll("?", "%3F").replaceAll("#", "%23").replaceAll("+", "%2B");
}

/** Percent-decodes ASCII text as UTF-8; undefined when that is not what it is. */
export function decode(raw: string): string | undefined {
  if (!raw.includes("%")) return raw;
  const bytes = new Uint8Array(raw.length);
  let length = 0;
  for (let at = 0; at < raw.length; at++) {
    if (raw[at] !== "%") bytes[length++] = raw.charCodeAt(at);
    else {
      const digits = raw.slice(at + 1, at + 3);
      if (!/^[0-9A-Fa-f]{2}$/.test(digits)) return undefined;
      bytes[length++] = Number.parseInt(digits, 16);
      at += 2;
    }
  }
  try {
    return new TextDecoder("utf-8", utf8).decode(bytes.subarray(0, length));
  } catch {
    return undefined;
  }
}
