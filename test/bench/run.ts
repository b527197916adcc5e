// `make bench`: every number in one table, each beside a peer of the same run, and written to docs/benchmarks.md when all parts ran.
//
//   node test/bench/run.ts                all parts, then docs/benchmarks.md
//   node test/bench/run.ts http postgres  these parts, printed only
import { writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { admission } from "./admission.ts";
import { detecting } from "./detectors.ts";
import { maskingAnswers } from "./masking.ts";
import { exchanges } from "./exchanges.ts";
import { footprint } from "./footprint.ts";
import { http } from "./http.ts";
import { http2 } from "./http2.ts";
import { llm } from "./llm.ts";
import { Patience } from "./noise.ts";
import { postgres } from "./postgres.ts";
import { recording } from "./recording.ts";
import { redirect } from "./redirect.ts";
import { provideRivals, versions } from "./rivals.ts";
import { streams } from "./streams.ts";
import { tls } from "./tls.ts";
import { leftOut, markdown, type Row } from "./table.ts";

const patience = new Patience();
/** In this order: what needs a quiet process of its own first, before this one is moved to the load's core. */
const parts: Readonly<Record<string, () => Promise<Row[]>>> = {
  footprint,
  admission,
  recording,
  detectors: detecting,
  masking: maskingAnswers,
  http: () => http({ patience }),
  llm: () => llm({ patience }),
  postgres: () => postgres({ patience }),
  tls: () => tls({ patience }),
  http2: () => http2(),
  streams: () => streams({ patience }),
  exchanges: () => exchanges(),
  redirect,
};
const page = join(import.meta.dirname, "../../docs/benchmarks.md");

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => parts[name] === undefined);
if (unknown.length > 0) {
  process.stderr.write(
    `no part is called ${unknown.join(", ")}; there are ${Object.keys(parts).join(", ")}\n`,
  );
  process.exit(2);
}
const say = (line: string): void => void process.stderr.write(`${line}\n`);
await provideRivals(say);
const rows: Row[] = [];
for (const [name, measure] of Object.entries(parts)) {
  if (asked.length > 0 && !asked.includes(name)) continue;
  say(`${name} ...`);
  try {
    rows.push(...(await measure()));
  } catch (error) {
    rows.push(leftOut(name, `failed: ${error instanceof Error ? error.message : String(error)}`));
    process.exitCode = 1;
  }
}
process.stdout.write(markdown(rows));
process.stdout.write(reasons(rows));
if (asked.length === 0) await writeFile(page, await document());

async function document(): Promise<string> {
  return `# Benchmarks

Written by \`make bench\`; do not edit. ${new Date().toISOString().slice(0, 10)}, ${availableParallelism()} cores (${process.arch}), ${await versions()}.
A round during which others used the machine is measured again; in what counts here they used at most ${patience.worst.toFixed(1)} cores. A number from a busy machine is low, for us and for the peers beside it; compare the ratios and the processor times.

${markdown(rows)}${reasons(rows)}
## How it is measured

- The proxy is the whole one: grants and bundles from a control plane in another process, credential put in, every operation recorded in a spool on disk,
  shipped in batches, verified and stored by the control plane. It has core 0 to itself; load, upstream, control plane and its store share core 1. So do the peers, one after the other.
- In a cluster the operator is on another machine. Here its process runs only while nobody else wants its core (SCHED_IDLE), so that load and upstream are served first: what the store has yet to take waits in the proxy's spool,
  and everything has arrived before the next turn. The spool has its usual bound of 64 MiB, some 55,000 events: a turn of two seconds that records more than 28,000 a second without the store's
  getting to any of them would fill it, and operations would wait; a run says so when it happens.
- Each figure is the median of three rounds, five of two seconds for HTTP and \`pgbench\`, the targets taking turns, so that a disturbance meets all of them. Before each turn the store has everything of the turn before.
  A run fails when a request fails, or when fewer operations were decided and counted than were answered.
- Processor time is user and system time of the process on core 0 (\`/proc/PID/stat\`), disk threads included, divided by what it did.
- HTTP: 32 connections that wait for each answer, 1 kB of JSON each way, an \`http\` Connection with ten rules. A POST may change something, so its intent is synced to the disk before it is forwarded, as every write's is.
  nginx does what it can of the same work: ten rules by method and path, the header replaced, a line of JSON logged for each request. undici forwards without any.
- Models: chats of 1 kB each way through \`openai\` and \`http\` Connections of ten rules each, \`detail: Full\`; streams and large answers through Connections with all detectors, in deltas and bytes a second of processor time of the proxy.
- PostgreSQL: \`pgbench -S -c8\`, scale 10, TLS nowhere except where the row says so, PgBouncer in session mode. \`simple\` sends its literals in the text, so every statement is new.
- Repeat: \`make bench\`, or one part: \`node test/bench/run.ts http\`. To look into one: \`BENCH_NODE_ARGS="--cpu-prof --cpu-prof-dir=/tmp/profile" node test/bench/http.ts 4 POST alone\`.
`;
}

function reasons(of: readonly Row[]): string {
  const missed = of.filter(({ verdict }) => verdict.includes("missed"));
  if (missed.length === 0) return "";
  return `\nWhat is missed, and why:\n\n${missed.map(({ what, why }) => `- ${what}: ${why ?? "nobody has looked yet."}`).join("\n")}\n`;
}
