// Server-sent events, incrementally: bytes in any pieces in, the data of each event out.

/** Longest event kept whole; a longer one is dropped and reported. Providers send a whole response in the last event. */
export const maxEventLength = 4 * 1024 * 1024;

export interface EventStream {
  push(chunk: Uint8Array): void;
  /** Nothing follows: an event without its blank line is not one (HTML standard, section 9.2.6). */
  finish(): void;
}

export function eventStream(onData: (data: string) => void, onDropped: () => void): EventStream {
  const decoder = new TextDecoder("utf-8");
  let line = "";
  let data: string[] = [];
  let length = 0;
  let dropping = false;
  let afterReturn = false;

  function endLine(): void {
    if (line === "") endEvent();
    else if (line.startsWith("data:") && !dropping) data.push(line.slice(line[5] === " " ? 6 : 5));
    line = "";
  }

  function endEvent(): void {
    if (dropping) onDropped();
    else if (data.length > 0) onData(data.join("\n"));
    data = [];
    length = 0;
    dropping = false;
  }

  /** Keeps an over-long event from growing, but still notices the blank line that ends it. */
  function addToLine(piece: string): void {
    if (piece === "") return;
    length += piece.length;
    if (length > maxEventLength) {
      dropping = true;
      data = [];
    }
    line = dropping ? "…" : line + piece;
  }

  function read(text: string): void {
    let start = 0;
    for (let at = 0; at < text.length; at++) {
      const character = text[at];
      if (character !== "\n" && character !== "\r") {
        afterReturn = false;
        continue;
      }
      const second = character === "\n" && afterReturn && at === start;
      if (!second) {
        addToLine(text.slice(start, at));
        endLine();
      }
      afterReturn = character === "\r";
      start = at + 1;
    }
    addToLine(text.slice(start));
  }

  return {
    push: (chunk) => read(decoder.decode(chunk, { stream: true })),
    finish: () => {
      if (dropping) onDropped();
    },
  };
}
