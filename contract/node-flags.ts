// What Node is started with in a proxy's container. Injection writes it into pods, the image has it as its entry point, the benchmarks measure with it, and
// the proxy refuses any other (proxy/surface.ts).

/** Measured with HTTP at full speed and with fifty busy PostgreSQL connections (docs/benchmarks.md says how). */
export const proxyNodeFlags = [
  // Nobody starts an inspector with a signal.
  "--disable-sigusr1",
  // V8's optimising compiler takes 600 MiB for the SQL grammar's one huge function, and makes it no faster.
  "--liftoff-only",
  // A sidecar has one core or less: collector threads would take it from the main thread, and halve nothing but its patience
  // (the 99th percentile of a busy proxy was twice as long with them).
  "--single-threaded-gc",
  // What dies young goes at once also while the old generation is being marked, as in V8 before version 12: else all of it waits for the end of
  // the marking, 13 MiB at full speed.
  "--no-separate-gc-phases",
  // A small young generation stays in the cache: with 8 a busy proxy had 7 MiB more and spent a hundredth less.
  "--max-semi-space-size=4",
  // The next marking when as much again as was alive has been added, where V8 would have it after a third: a tenth of the processor of a busy proxy.
  "--heap-growing-percent=100",
  // Node's own heap in MiB, inside the container's limit, which also holds buffers and the SQL grammar.
  "--max-old-space-size=128",
] as const;
