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

  function read(piece: string): void {
    // The second half of a line end.
    const text = afterReturn && piece.startsWith("\n") ? piece.slice(1) : piece;
    if (piece !== "") afterReturn = piece.endsWith("\r");
    const rest = eachLine(text, (end) => {
      addToLine(end);
      endLine();
    });
    addToLine(rest);
  }

  return {
    push: (chunk) => read(decoder.decode(chunk, { stream: true })),
    finish: () => {
      if (dropping) onDropped();
    },
  };
}

const lineEnd = /\r\n|\n|\r/g;

/** Calls `line` with each line of a text (HTML standard, section 9.2.6) that has an end, without it. What follows the last of them. */
export function eachLine(text: string, line: (line: string) => void): string {
  let from = 0;
  if (!text.includes("\r")) {
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", from)) {
      line(text.slice(from, end));
      from = end + 1;
    }
    return text.slice(from);
  }
  for (const match of text.matchAll(lineEnd)) {
    line(text.slice(from, match.index));
    from = match.index + match[0].length;
  }
  return text.slice(from);
}
