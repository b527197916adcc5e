// A model's API through the whole proxy on one core, with ten rules, the credential put in, and everything recorded: small chats beside the same
// bytes through an `http` Connection, what is added to the first delta, and streams and large answers with every detector.
//
//   node test/bench/llm.ts [seconds [chat|plain|stream|first|body]]
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { pathToFileURL } from "node:url";
import { detectorNames } from "../../policy/mask/detectors.ts";
import { startChaperone } from "./chaperone.ts";
import type { Chaperone } from "./chaperone.ts";
import { deltasPerAnswer, type Asked, type LlmOrder, type LlmResult } from "./llm-answers.ts";
import { Patience } from "./noise.ts";
import { end, firstMessage, nodeFile, pinLoad, processorMs } from "./processes.ts";
import { count, markdown, median, verdict } from "./table.ts";
import type { Row } from "./table.ts";

const rounds = 3;
const warmSeconds = 5;
const shipWithinMs = 60_000;
/** Of our own plain HTTP path. */
const floorOfPlain = 0.8;
const floorAddedMs = 1;
const floorDeltas = 100_000;
const floorMb = 60;

/** Which Connection is asked, and by how many at a time. */
const askedOf: Readonly<Record<Asked, { readonly connection: string; readonly at: number }>> = {
  chat: { connection: "bench/models", at: 32 },
  plain: { connection: "bench/orders", at: 32 },
  first: { connection: "bench/models", at: 1 },
  stream: { connection: "bench/masked-models", at: 8 },
  body: { connection: "bench/masked-orders", at: 8 },
};

const connection = (name: string, protocol: string, port: number): string => `
---
apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: ${name}, namespace: bench}
spec:
  protocol: ${protocol}
  endpoint: {url: "http://127.0.0.1:${port}${protocol === "openai" ? "/v1" : ""}"}
  hosts: [${name}.example]
  credential:
    static: {secretRef: {name: key}, header: {name: Authorization, value: "Bearer \${token}"}}
`;

const policy = (name: string, connections: readonly string[], rest: string): string => `
---
apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: ${name}, namespace: bench}
spec:
  targetRefs: [${connections.map((one) => `{group: chaperone.dev, kind: Connection, name: ${one}}`).join(", ")}]
  subjects: [{serviceAccounts: [agent]}]
  recording: {detail: Full}
${rest}
`;

const httpRules = `  rules:
    - {name: health, action: Allow, http: {methods: [GET, HEAD], paths: ["/healthz", "/v1/status"]}}
    - {name: customers, action: Allow, http: {methods: [GET], paths: ["/v1/customers/*", "/v1/customers/*/addresses/**"]}}
    - {name: invoices, action: Allow, http: {methods: [GET, POST], paths: ["/v1/invoices/**"]}}
    - {name: small-refunds, action: Allow, http: {methods: [POST], paths: ["/v1/refunds"]}, when: 'http.query.size() == 0'}
    - {name: search, action: Allow, http: {methods: [GET], paths: ["/v1/search"]}, when: '"q" in http.query'}
    - {name: reports, action: Allow, http: {methods: [GET], paths: ["/v1/reports/*.csv"]}}
    - {name: orders, action: Allow, http: {methods: [GET, POST], paths: ["/v1/orders", "/v1/orders/**"]}}
    - {name: no-admin, action: Deny, http: {paths: ["/v1/admin/**"]}}
    - {name: no-deletes, action: Deny, http: {methods: [DELETE]}}
    - {name: no-exports, action: Deny, http: {methods: [POST], paths: ["/v1/exports/**"]}}`;

const llmRules = `  rules:
    - {name: list, action: Allow, llm: {operations: [models]}}
    - {name: embed, action: Allow, llm: {operations: [embeddings], models: ["text-embedding-*"]}}
    - {name: moderate, action: Allow, llm: {operations: [moderations]}}
    - {name: sql, action: Allow, llm: {operations: [chat], models: [gpt-5], tools: [run_sql]}}
    - {name: mini, action: Allow, llm: {operations: [chat], models: ["gpt-5-mini*"]}}
    - {name: short, action: Allow, llm: {operations: [responses], models: [gpt-5], maxOutputTokens: 4000}}
    - {name: chat, action: Allow, llm: {operations: [chat], models: ["gpt-5*"]}}
    - {name: no-images, action: Deny, llm: {operations: [images]}}
    - {name: no-files, action: Deny, llm: {operations: [files, batches]}}
    - {name: no-previews, action: Deny, llm: {operations: [chat, responses], models: ["*-preview"]}}`;

const masking = `
  masking:
    - detect: [${detectorNames.join(", ")}]
      transform: {redact: {}}`;

function manifests(port: number): string {
  return [
    "apiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: bench}\nstringData: {token: real}\n",
    connection("orders", "http", port),
    connection("models", "openai", port),
    connection("masked-orders", "http", port),
    connection("masked-models", "openai", port),
    policy("plain", ["orders"], httpRules),
    policy("models", ["models"], llmRules),
    policy("masked-plain", ["masked-orders"], httpRules + masking),
    policy("masked-models", ["masked-models"], llmRules + masking),
  ].join("");
}

interface Measured {
  readonly perSecond: number;
  readonly p50Ms: number;
  /** The proxy's processor time, of an answer and of a byte of it. */
  readonly cpuUs: number;
  readonly bytesPerUs: number;
}

interface Bench {
  readonly generator: ChildProcess;
  readonly chaperone: Chaperone;
  readonly seconds: number;
}

/** One thing to measure: through the proxy, or straight to the origin. */
interface Turn {
  readonly asked: Asked;
  readonly isDirect?: boolean;
}

export interface LlmBench {
  readonly seconds?: number;
  readonly asked?: readonly Asked[];
  readonly patience?: Patience;
}

export async function llm({
  seconds = 4,
  asked = ["chat", "plain", "first", "stream", "body"],
  patience = new Patience(),
}: LlmBench = {}): Promise<Row[]> {
  await pinLoad();
  const [, file = ""] = nodeFile("llm-load.ts");
  const generator = fork(file, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  let chaperone: Chaperone | undefined;
  try {
    const port = await firstMessage<number>(generator, "the load generator");
    chaperone = await startChaperone(manifests(port));
    const bench = { generator, chaperone, seconds };
    const of = async (...turns: readonly Turn[]): Promise<Measured[]> =>
      turns.some((turn) => asked.includes(turn.asked)) ? compare(bench, turns, patience) : [];
    return [
      ...chatRows(await of({ asked: "chat" }, { asked: "plain" })),
      ...firstRow(await of({ asked: "first" }, { asked: "first", isDirect: true })),
      ...streamRow(await of({ asked: "stream" })),
      ...bodyRow(await of({ asked: "body" })),
    ];
  } finally {
    await chaperone?.stop();
    await end(generator);
  }
}

/** Turn by turn, so that a disturbance meets all of them; the median of each. */
async function compare(
  bench: Bench,
  turns: readonly Turn[],
  patience: Patience,
): Promise<Measured[]> {
  for (const turn of turns) await measure({ ...bench, seconds: warmSeconds }, turn);
  const results = turns.map((): Measured[] => []);
  for (let round = 0; round < rounds; round += 1)
    for (const [index, turn] of turns.entries())
      results[index]?.push(
        await patience.quietly(async () => {
          if (!(await bench.chaperone.shipped(shipWithinMs)))
            throw new Error(`the store lacks events ${shipWithinMs} ms after the last request`);
          return measure(bench, turn);
        }),
      );
  return results.map((of) => ({
    perSecond: median(of.map((one) => one.perSecond)),
    p50Ms: median(of.map((one) => one.p50Ms)),
    cpuUs: median(of.map((one) => one.cpuUs)),
    bytesPerUs: median(of.map((one) => one.bytesPerUs)),
  }));
}

async function measure(
  { generator, chaperone, seconds }: Bench,
  { asked, isDirect = false }: Turn,
): Promise<Measured> {
  const { connection: name, at } = askedOf[asked];
  const port = isDirect ? 0 : chaperone.port(name);
  const decidedBefore = await chaperone.allowed();
  const before = await processorMs(chaperone.pid);
  generator.send({ asked, port, seconds, connections: at } satisfies LlmOrder);
  const result = await firstMessage<LlmResult>(generator, "the load generator");
  const spentUs = ((await processorMs(chaperone.pid)) - before) * 1_000;
  const decided = (await chaperone.allowed()) - decidedBefore;
  if (result.failures > 0 || result.answers === 0)
    throw new Error(`${asked}: ${result.failures} of ${result.answers} answers failed`);
  // What is not decided is not measured.
  if (!isDirect && decided < result.answers)
    throw new Error(`${result.answers} requests were answered and ${decided} decided`);
  return {
    perSecond: result.answers / result.seconds,
    p50Ms: result.p50Ms,
    cpuUs: spentUs / result.answers,
    bytesPerUs: result.bytes / spentUs,
  };
}

function chatRows([chat, plain]: readonly Measured[]): Row[] {
  if (chat === undefined || plain === undefined) return [];
  const ratio = chat.perSecond / plain.perSecond;
  return [
    {
      what: `chat POST of 1 kB through \`openai\`, answer of 1 kB: ten rules, recorded in full; ${askedOf.chat.at} connections`,
      measured: `${count(chat.perSecond)}/s, p50 ${chat.p50Ms.toFixed(1)} ms, ${count(chat.cpuUs)} µs of processor`,
      ratio: `${ratio.toFixed(2)} of the same bytes through \`http\` (${count(plain.perSecond)}/s, ${count(plain.cpuUs)} µs of processor)`,
      floor: `${floorOfPlain} of \`http\``,
      goal: "",
      verdict: verdict(ratio >= floorOfPlain, undefined),
      why: "the body is read twice over that of plain HTTP: by our own strict reader, which refuses what two servers could read differently, and as an answer for tokens and the recording.",
    },
  ];
}

function firstRow([through, direct]: readonly Measured[]): Row[] {
  if (through === undefined || direct === undefined) return [];
  const added = through.p50Ms - direct.p50Ms;
  return [
    {
      what: "time to the first delta that the proxy adds to a stream, one connection, median",
      measured: `${added.toFixed(2)} ms`,
      ratio: `direct ${direct.p50Ms.toFixed(2)} ms; the second delta comes 20 ms later`,
      floor: `${floorAddedMs} ms`,
      goal: "",
      verdict: verdict(added <= floorAddedMs, undefined),
      why: "the intent of a request that may change something is on the disk before it is forwarded; a busy disk shows here.",
    },
  ];
}

function streamRow([stream]: readonly Measured[]): Row[] {
  if (stream === undefined) return [];
  const perCore = (deltasPerAnswer * 1e6) / stream.cpuUs;
  return [
    {
      what: `streams of ${count(deltasPerAnswer)} deltas through \`openai\`, an event each, every detector, recorded in full; ${askedOf.stream.at} connections`,
      measured: `${Math.round(perCore / 1_000)} k deltas/s of processor time`,
      ratio: `${count(stream.perSecond * deltasPerAnswer)} deltas/s beside the load on a core of its own`,
      floor: `${floorDeltas / 1_000} k deltas/s`,
      goal: "",
      verdict: verdict(perCore >= floorDeltas, undefined),
      why: "each event is parsed, masked, written again, and read once more for the recording.",
    },
  ];
}

function bodyRow([body]: readonly Measured[]): Row[] {
  if (body === undefined) return [];
  return [
    {
      what: `JSON answers of 1 MB through \`http\`, every detector, recorded in full; ${askedOf.body.at} connections`,
      measured: `${body.bytesPerUs.toFixed(0)} MB/s of processor time`,
      ratio: `${count(body.perSecond)} answers/s`,
      floor: `${floorMb} MB/s`,
      goal: "",
      verdict: verdict(body.bytesPerUs >= floorMb, undefined),
      why: "the system's copies from and to sockets take their part besides the detectors.",
    },
  ];
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [seconds = "4", ...asked] = process.argv.slice(2);
  const all: readonly Asked[] = ["chat", "plain", "first", "stream", "body"];
  const wanted = all.filter((one) => asked.length === 0 || asked.includes(one));
  process.stdout.write(markdown(await llm({ seconds: Number(seconds), asked: wanted })));
}
