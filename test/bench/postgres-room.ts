// The PostgreSQL room alone: processor time per statement of reading, deciding, masking and counting, without sockets and recording. It holds on
// a machine that others use, too, where rates say nothing.
//
//   node test/bench/postgres-room.ts [statements [mode]]
import { Socket } from "node:net";
import { serialize } from "pg-protocol";
import type { BundleRule } from "../../policy/bundle.ts";
import { prepare } from "../../policy/decide.ts";
import { loadSqlGrammar } from "../../policy/sql/grammar.ts";
import { createGate } from "../../proxy/gate.ts";
import { PodMarks } from "../../proxy/marks.ts";
import type { Grants, LiveGrant, Recorder } from "../../proxy/pipeline.ts";
import { Chunks } from "../../proxy/postgres/chunks.ts";
import { Conversation } from "../../proxy/postgres/conversation.ts";
import { Exchange } from "../../proxy/postgres/exchange.ts";
import { Gathering } from "../../proxy/postgres/gathering.ts";
import { CatalogCache, MaskSource } from "../../proxy/postgres/mask-source.ts";
import { message } from "../../proxy/postgres/messages.ts";
import { Outbox } from "../../proxy/postgres/outbox.ts";
import { SearchPath } from "../../proxy/postgres/search-path.ts";
import { SchemaChanges } from "../../proxy/postgres/schema-changes.ts";
import { OverloadCache, OverloadSource } from "../../proxy/postgres/overloads.ts";
import { SessionSettings } from "../../proxy/postgres/session-settings.ts";
import { NamedTotal } from "../../proxy/postgres/statements.ts";
import { createStudy } from "../../proxy/postgres/understanding.ts";
import { createUnderstanding } from "../../proxy/postgres/understand.ts";
import { allow, bundleOf, deny } from "../integration/postgres-proxy-harness.ts";

const statements = Number(process.argv[2] ?? 50_000);
const onlyMode = process.argv[3];
const warm = 20_000;
const rounds = 3;

/** What is written to it goes to `sink`; what "arrives" is emitted. */
class Wire extends Socket {
  sink: (bytes: Buffer) => void = () => undefined;
  override write(bytes: unknown): boolean {
    if (Buffer.isBuffer(bytes)) this.sink(bytes);
    return true;
  }
}

const rules: readonly BundleRule[] = [
  allow({ statements: ["select"], relations: ["public.pgbench_*"] }, "read"),
  allow({ statements: ["insert"], relations: ["public.pgbench_history"] }, "history"),
  deny({ statements: ["drop", "truncate"] }),
  deny({ statements: ["delete"], relations: ["public.*"] }),
  deny({ statements: ["update"], hasWhere: false }),
  deny({ statements: ["grant", "revoke", "alter"] }),
  deny({ statements: ["copy"], relations: ["private.*"] }),
  deny({ statements: ["select"], relations: ["private.*", "public.salaries"] }),
  deny({ columns: ["public.pgbench_tellers.filler"] }),
  deny({ functions: ["pg_sleep", "dblink*"] }),
];
const bundle = bundleOf(rules, {
  columnMasks: [
    {
      column: "public.pgbench_accounts.filler",
      transform: { kind: "partial", keepFirst: 0, keepLast: 4 },
      policy: "agents/p",
    },
  ],
});
const live: LiveGrant = {
  id: "grant",
  endpoint: { host: "", port: 0, tls: { mode: "Disable" }, basePath: "" },
  lease: { kind: "none" },
  bundle,
  prepared: prepare(bundle),
};
const notAsked = (): never => {
  throw new Error("nobody is asked here");
};
const grants: Grants = {
  current: () => live,
  acquire: async () => live,
  openRequest: notAsked,
  awaitDecision: notAsked,
  spend: notAsked,
  keepInUse: () => () => undefined,
  pinTools: async ({ seen }) => seen,
};
let events = 0;
const recorder: Recorder = {
  full: () => false,
  room: async () => undefined,
  append: () => ({ seq: ++events }),
  appendDurably: async () => ({ seq: ++events }),
};
const columns = '[["aid",1,23],["bid",2,23],["abalance",3,23],["filler",4,1042]]';
const accounts = ["5000", "public", "pgbench_accounts", "r", columns, null, "f"];

const of = (type: string, body: string): Buffer =>
  message(type.charCodeAt(0), Buffer.from(body, "latin1"));
const shape = of("T", "\0\x01abalance\0\0\0\x13\x88\0\x03\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0");
const row = of("D", "\0\x01\0\0\0\x041234");
const tag = of("C", "SELECT 1\0");
const ready = of("Z", "I");
/** What the server says to each message. */
const answers: ReadonlyMap<string, Buffer> = new Map([
  ["P", of("1", "")],
  ["B", of("2", "")],
  ["D", shape],
  ["E", Buffer.concat([row, tag])],
  ["S", ready],
  ["Q", Buffer.concat([shape, row, tag, ready])],
]);

function answerTo(bytes: Buffer): Buffer {
  const said: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 1 + bytes.readInt32BE(at + 1)) {
    const answer = answers.get(String.fromCharCode(bytes[at] ?? 0));
    if (answer !== undefined) said.push(answer);
  }
  return Buffer.concat(said);
}

const understanding = createUnderstanding(await loadSqlGrammar());

/** A session whose server answers at once; sends one chunk of a client and returns when it is answered. */
function session(): (chunk: Buffer) => void {
  const [client, upstream] = [new Wire(), new Wire()];
  const now = (): number => performance.now();
  const gate = createGate({
    connection: { namespace: "agents", name: "orders-db", protocol: "postgres" },
    subject: { namespace: "agents", serviceAccount: "agent", pod: "pod", podUid: "uid" },
    grants,
    recorder,
    marks: new PodMarks(),
    now: Date.now,
  });
  const opened = gate.open({});
  const current = (): LiveGrant => live;
  const cache = new CatalogCache(now);
  const changes = new SchemaChanges();
  const masks = new MaskSource({
    engine: understanding.masks,
    cache,
    key: "",
    current,
    masksNow: (all) => all,
    now,
    changes,
  });
  masks.loaded([[accounts], [], [], [], []], true, 60_000);
  const { callsOf, recognise } = understanding;
  const overloads = new OverloadSource({
    callsOf,
    cache: new OverloadCache(now),
    key: "",
    now,
    changes,
  });
  overloads.loaded([], true, 60_000);
  const exchange = new Exchange({
    gate,
    session: opened,
    study: createStudy(recognise),
    literalsOf: understanding.literalsOf,
    masks,
    overloads,
    replication: undefined,
    changes,
    path: new SearchPath(true),
    settings: new SessionSettings({ prepared: live.prepared, asked: false, reported: "on" }),
    client: new Outbox(client),
    upstream: new Outbox(upstream),
    gathering: new Gathering(now),
    named: new NamedTotal(),
    now,
    holdNoticeMs: 60_000,
    cancel: async () => undefined,
    openAside: async () => {
      throw new Error("nothing stands beside");
    },
    poisonPortal: "poison",
  });
  const chunks = { client: new Chunks(), upstream: new Chunks() };
  const ends = { client, upstream, chunks, ended: opened.ended, setChain: () => undefined };
  const conversation = new Conversation(exchange, ends);
  conversation.start(Buffer.alloc(0), Buffer.alloc(0));
  let sent: Buffer[] = [];
  // A copy, as the kernel makes one: what is written may be written over.
  upstream.sink = (bytes) => void sent.push(Buffer.from(bytes));
  return (chunk) => {
    conversation.fromClient(chunks.client.keep(chunk));
    while (sent.length > 0) {
      const bytes = Buffer.concat(sent);
      sent = [];
      conversation.fromUpstream(chunks.upstream.keep(answerTo(bytes)));
    }
  };
}

const text = "SELECT abalance FROM pgbench_accounts WHERE aid = $1;";
const bound = (statement: string, value: number): Buffer =>
  Buffer.concat([
    serialize.bind({ statement, values: [String(value)] }),
    serialize.describe({ type: "P" }),
    serialize.execute({}),
    serialize.sync(),
  ]);
const modes: Readonly<Record<string, (value: number) => Buffer>> = {
  prepared: (value) => bound("P0", value),
  extended: (value) => Buffer.concat([serialize.parse({ text, types: [23] }), bound("", value)]),
  simple: (value) => serialize.query(text.replace("$1", String(value))),
};

for (const [mode, make] of Object.entries(modes)) {
  if (onlyMode !== undefined && mode !== onlyMode) continue;
  const play = session();
  play(Buffer.concat([serialize.parse({ name: "P0", text, types: [23] }), serialize.sync()]));
  const chunks = Array.from({ length: 1_000 }, (_, at) => make(100_000 + at * 7));
  const run = (count: number): void => {
    for (let at = 0; at < count; at++) play(chunks[at % chunks.length] ?? Buffer.alloc(0));
  };
  run(warm);
  const spent: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const before = process.cpuUsage();
    const eventsBefore = events;
    run(statements);
    if (events - eventsBefore !== statements) throw new Error("not every statement was recorded");
    const { user, system } = process.cpuUsage(before);
    spent.push((user + system) / statements);
  }
  process.stdout.write(`${mode}: ${Math.min(...spent).toFixed(1)} µs of processor a statement\n`);
}
process.exit(0);
