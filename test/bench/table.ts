// One row of the table of numbers, and how the table is printed.

export interface Row {
  readonly what: string;
  readonly measured: string;
  /** Against which peer in the same run, and the ratio. */
  readonly ratio: string;
  readonly floor: string;
  readonly goal: string;
  /** As `verdict` says it, or why it was left out. */
  readonly verdict: string;
  /** What the measured number is made of: printed where a floor or a goal is missed. */
  readonly why?: string;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export function markdown(rows: readonly Row[]): string {
  const lines = rows.map(
    ({ what, measured, ratio, floor, goal, verdict }) =>
      `| ${what} | ${measured} | ${ratio} | ${floor} | ${goal} | ${verdict} |`,
  );
  return (
    [
      "| what | measured | ratio | floor | goal | verdict |",
      "| --- | --- | --- | --- | --- | --- |",
      ...lines,
    ].join("\n") + "\n"
  );
}

/** How a number is said: no digits that the machine does not keep from one run to the next. */
export function count(value: number): string {
  return value < 100 ? value.toFixed(1) : Math.round(value).toLocaleString("en");
}

export function verdict(floor: boolean | undefined, goal: boolean | undefined): string {
  if (floor === false) return "floor missed";
  const reached = goal === undefined ? "" : goal ? "goal met" : "goal missed";
  if (floor === undefined) return reached === "" ? "no floor" : reached;
  return reached === "" ? "floor met" : `floor met, ${reached}`;
}

export function leftOut(what: string, why: string): Row {
  return { what, measured: "left out", ratio: "", floor: "", goal: "", verdict: why };
}
