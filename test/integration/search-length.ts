// How long the random searches of these tests are: short at every run, since each run draws other cases, and longer for whoever asks.

/** `make fuzz-tests` sets it: so many times the cases of a run of the suite. */
const times = Number(process.env["FUZZ_TIMES"] ?? 1);

/** @param few cases that find a plain mistake in one run of the suite; each costs milliseconds of processor time on both sides of a socket */
export function cases(few: number): number {
  return few * times;
}
