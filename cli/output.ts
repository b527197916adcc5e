// Tables and JSON for people and for scripts. Recorded text is somebody else's: control characters never reach the terminal.

/** Removes what could move the cursor, recolour or retitle a terminal (C0, DEL, C1), and bidirectional overrides. */
export function plain(text: string): string {
  return text.replace(controls, (character) =>
    character === "\n" || character === "\t" ? " " : "\ufffd",
  );
}

// oxlint-disable-next-line no-control-regex -- exactly these are meant
const controls = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Left-aligned columns two spaces apart, a header line first. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [header, ...rows].map((row) => row.map(plain));
  const widths = header.map((_, column) =>
    Math.max(...lines.map((line) => (line[column] ?? "").length)),
  );
  return (
    lines
      .map((line) =>
        line
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join("  ")
          .trimEnd(),
      )
      .join("\n") + "\n"
  );
}

export function json(value: unknown): string {
  return JSON.stringify(value, null, 2) + "\n";
}

/** `3m ago`, for tables. */
export function age(time: string, now: number): string {
  const seconds = Math.max(0, Math.round((now - Date.parse(time)) / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)}h`;
  return `${Math.round(seconds / 86_400)}d`;
}
