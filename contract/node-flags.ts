// What Node is started with in a proxy's container. Injection writes it into pods, the image has it as its entry point, the benchmarks measure with it, and
// the proxy refuses any other (proxy/surface.ts). Only flags with which Node still takes the compiled form of its own modules; others are proxy/engine.ts.

export const proxyNodeFlags = [
  // Nobody starts an inspector with a signal.
  "--disable-sigusr1",
  // A sidecar has one core or less: collector threads would take it from the main thread, and halve nothing but its patience
  // (measured: the 99th percentile of a busy proxy was twice as long with them).
  "--single-threaded-gc",
  // A small young generation stays in the cache: with 8 a busy proxy had 7 MiB more and spent a hundredth less (50 connections, measured).
  "--max-semi-space-size=4",
  // Node's own heap in MiB, inside the container's limit, which also holds buffers and the SQL grammar.
  "--max-old-space-size=128",
] as const;
