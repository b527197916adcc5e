// The one normalised path of a request. A path that two readers could read differently has none: it is refused with the reason.

export type NormalisedPath = { readonly path: string } | { readonly problem: string };

/** Longest request target looked at; servers commonly refuse more than 8 KiB. */
export const maxTargetLength = 16_384;

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
    refuses: /(^|\/)\.{1,2}(\/|$)/,
    problem: "the path contains a `.` or `..` segment, which some servers resolve",
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
    refuses: /[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\uff0e\uff0f\uff3c\u2215\u2044]/u,
    problem: "the path contains a character that looks like another or like none",
  },
];

/**
 * Decodes the path of a request target (without query) once.
 *
 * @param raw as sent, beginning with `/`
 */
export function normalisePath(raw: string): NormalisedPath {
  if (raw.length > maxTargetLength)
    return { problem: `the path is longer than ${maxTargetLength} characters` };
  if (!raw.startsWith("/")) return { problem: "the path does not begin with a slash" };
  const refused = rawChecks.find(({ refuses }) => refuses.test(raw));
  if (refused) return { problem: refused.problem };
  if (!plain.test(raw))
    return { problem: "the path contains a character that has to be percent-encoded" };
  const path = decode(raw);
  if (path === undefined)
    return { problem: "the path has an invalid percent-encoding or is no UTF-8" };
  const strange = decodedChecks.find(({ refuses }) => refuses.test(path));
  return strange ? { problem: strange.problem } : { path };
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
