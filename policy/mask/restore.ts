// Puts values back where their tokens stand, in texts that come in pieces: the same engine that masks answers drives it, so a token may be cut over any
// deltas, chunks and escapes. Only the end of a text that could still become a token is held back: some sixty characters at most, mostly none.
import { JsonParts } from "./json-marks.ts";
import { createMarker } from "./suspects.ts";
import type { Counts, StreamMasker, TextStream } from "./stream.ts";
import { tokenForm, type TokenForm, type TokenVault } from "./token-vault.ts";

/** A masker that reveals: what it finds are tokens of this vault, what it makes of them their values. */
export function createRestorer(vault: TokenVault): StreamMasker {
  const form = tokenForm(vault.names);
  const suspects = (text: string): boolean => {
    form.any.lastIndex = 0;
    return form.any.test(text);
  };
  return {
    open: (counts) => new RestoringStream({ vault, form, counts }),
    whole: (text, counts) =>
      suspects(text) ? read({ vault, form, counts }, text, true).shown : text,
    // Of tokens it knows nothing: each string is looked at.
    parts: new JsonParts(createMarker([]), false),
  };
}

interface Reading {
  readonly shown: string;
  /** Could still become a token. */
  readonly rest: string;
}

/** From the left, each token once: those that begin before the open end, even where they end behind its beginning. */
function read({ vault, form, counts }: Restoring, text: string, isEnd: boolean): Reading {
  let shown = "";
  let from = 0;
  let open = isEnd ? text.length : form.openEnd(text, 0);
  form.any.lastIndex = 0;
  for (let match = form.any.exec(text); match !== null; match = form.any.exec(text)) {
    const { index } = match;
    if (index >= open) break;
    const found = form
      .at(text, index)
      .map((token) => ({ token, value: vault.value(token) }))
      .find(({ value }) => value !== undefined);
    if (found?.value === undefined) {
      form.any.lastIndex = index + 1;
      continue;
    }
    shown += text.slice(from, index) + found.value;
    from = index + found.token.length;
    form.any.lastIndex = from;
    counts["restored"] = (counts["restored"] ?? 0) + 1;
    if (from > open) open = form.openEnd(text, from);
  }
  return { shown: shown + text.slice(from, open), rest: text.slice(open) };
}

interface Restoring {
  readonly vault: TokenVault;
  readonly form: TokenForm;
  readonly counts: Counts;
}

class RestoringStream implements TextStream {
  readonly #restoring: Restoring;
  #held = "";

  constructor(restoring: Restoring) {
    this.#restoring = restoring;
  }

  push(piece: string): string {
    const { shown, rest } = read(this.#restoring, this.#held + piece, false);
    this.#held = rest;
    return shown;
  }

  end(): string {
    const { shown } = read(this.#restoring, this.#held, true);
    this.#held = "";
    return shown;
  }
}
