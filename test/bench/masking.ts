// How fast answers are masked on their way: deltas of a stream, and a JSON body of a megabyte, with all detectors. Beside it, as the
// least that any reader of such a stream does, what parsing and writing the same events alone takes.
import { pathToFileURL } from "node:url";
import { bodyMasker } from "../../policy/llm/mask-answer.ts";
import { openAi } from "../../policy/llm/openai/provider.ts";
import type { LlmProvider } from "../../policy/llm/provider.ts";
import { detectorNames } from "../../policy/mask/detectors.ts";
import { createStreamMasker } from "../../policy/mask/stream.ts";
import { markdown, median } from "./table.ts";
import type { Row } from "./table.ts";

const deltas = 100_000;
const rounds = 5;
/** Of one megabyte: enough of them that compiling does not count. */
const bodies = 20;
const floorDeltas = 100_000;
const floorMb = 60;
/** As a socket hands it over. */
const chunkBytes = 64 * 1024;

const masker = createStreamMasker(
  detectorNames.map((detector) => ({
    detector,
    transform: { kind: "redact" },
    policy: "bench/openai",
  })),
  Buffer.alloc(32),
);

function streamed(): Buffer[] {
  const words =
    "The order was placed on Monday and will be shipped to the customer at the end of this week ."
      .split(" ")
      .map((word) => `${word} `);
  return Array.from({ length: deltas }, (_, index) => {
    const content = index % 200 === 0 ? "jane@example.com " : words[index % words.length];
    const event = {
      id: "chatcmpl-1",
      object: "chat.completion.chunk",
      created: 1_700_000_000,
      model: "gpt-5",
      choices: [{ index: 0, delta: { content }, finish_reason: null }],
    };
    return Buffer.from(`data: ${JSON.stringify(event)}\n\n`);
  });
}

function records(): Buffer[] {
  const body = Buffer.from(
    JSON.stringify(
      Array.from({ length: 4_000 }, (_, index) => ({
        id: index,
        name: `Customer number ${index}`,
        note: "has ordered before, and will order again. ".repeat(4),
        at: "2026-11-30T12:30:45.123Z",
        total: 12.5,
        ...(index % 200 === 0 && { mail: "jane@example.com" }),
      })),
    ),
  );
  const chunks: Buffer[] = [];
  for (let at = 0; at < body.length; at += chunkBytes)
    chunks.push(body.subarray(at, at + chunkBytes));
  return chunks;
}

function masked(type: string, provider: LlmProvider | undefined, chunks: readonly Buffer[]): void {
  const counts: Record<string, number> = {};
  const body = bodyMasker(type, provider, masker, counts);
  if (typeof body === "string" || "problem" in body) throw new Error(`${type} is not masked`);
  for (const chunk of chunks) Buffer.from(String(body.push(chunk)));
  body.end();
  if (counts["email"] === undefined) throw new Error("nothing was found");
}

function parsed(chunks: readonly Buffer[]): void {
  for (const chunk of chunks) {
    const event: unknown = JSON.parse(chunk.toString("utf8", 6));
    Buffer.from(`data: ${JSON.stringify(event)}\n\n`);
  }
}

/**
 * Of something a microsecond of processor time, once Node has compiled what is hot.
 *
 * @param times how often it is run in each round, and before the first
 */
function rate(amount: number, times: number, run: () => void): number {
  const repeated = (): void => {
    for (let time = 0; time < times; time += 1) run();
  };
  repeated();
  return median(
    Array.from({ length: rounds }, () => {
      const before = process.cpuUsage();
      repeated();
      const { user, system } = process.cpuUsage(before);
      return (amount * times) / (user + system);
    }),
  );
}

export function maskingAnswers(): Promise<Row[]> {
  const stream = streamed();
  const events = 1e6 * rate(deltas, 1, () => masked("text/event-stream", openAi, stream));
  const alone = 1e6 * rate(deltas, 1, () => parsed(stream));
  const body = records();
  const bytes = body.reduce((sum, chunk) => sum + chunk.length, 0);
  const megabytes = rate(bytes, bodies, () => masked("application/json", undefined, body));
  return Promise.resolve([
    {
      what: "masked stream of a model: one chat delta an event, all detectors, a finding in every 200th",
      measured: `${Math.round(events / 1_000)} k deltas/s`,
      ratio: `${(events / alone).toFixed(2)} of parsing and writing the same events`,
      floor: `${floorDeltas / 1_000} k deltas/s`,
      goal: "",
      verdict: events >= floorDeltas ? "floor met" : "floor missed",
    },
    {
      what: "masked JSON body of 1 MB: all detectors, a finding in every 200th record",
      measured: `${megabytes.toFixed(0)} MB/s`,
      ratio: "",
      floor: `${floorMb} MB/s`,
      goal: "",
      verdict: megabytes >= floorMb ? "floor met" : "floor missed",
      why: "two passes over the bytes: one marks quotes, escapes and what could be a finding, one reads the structure between them; a busy machine shows here first.",
    },
  ]);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href)
  process.stdout.write(markdown(await maskingAnswers()));
