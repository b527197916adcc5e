// Puts batches into the store, once each: checks first, then one transaction for all that wait, then the acknowledgements.
import type { Transaction } from "kysely";
import {
  type ChainPosition,
  firstPrev,
  IngestRefused,
  type IngestRefusal,
  isSuccessor,
  maxBatchEvents,
  sha256,
  shadowsHeader,
  startOf,
  verifyChain,
} from "../../contract/chain.ts";
import type { EventBatch } from "../../contract/control.ts";
import type { ContentRecord, EventHeader, StoredEvent } from "../../contract/event.ts";
import { type AuditSchema, column, encodeText, eventIds } from "./schema.ts";
import { foldSessions } from "./sessions.ts";

type Writing = Transaction<AuditSchema>;

/** Rows of one INSERT: SQLite takes 32,766 parameters, PostgreSQL 65,535. */
const rowsPerInsert = 500;

/** What can be said of a batch without the store: its own links, bodies and contents. Throws IngestRefused. */
export function checkBatch(batch: EventBatch): void {
  const { stream, events } = batch;
  const refuse = (code: IngestRefusal["code"], message: string): never => {
    throw new IngestRefused({ code, stream, expected: 1, message });
  };
  if (
    typeof stream !== "string" ||
    stream === "" ||
    !Array.isArray(events) ||
    !Array.isArray(batch.contents)
  )
    refuse("MalformedBatch", "a batch names a stream, events and contents");
  if (events.length > maxBatchEvents)
    refuse(
      "MalformedBatch",
      `a batch carries at most ${maxBatchEvents} events, this one ${events.length}`,
    );
  const first = events[0];
  if (first === undefined) return;
  for (const event of events)
    if (!isWellFormed(event))
      refuse(
        "MalformedBatch",
        `event ${String(event?.header?.seq)} of ${stream} is not a complete event`,
      );
  const before: ChainPosition = { stream, seq: first.header.seq - 1, hash: first.header.prev };
  const { fault } = verifyChain(events, before);
  if (fault !== undefined) refuse("AlteredEvent", fault.message);
  const problem = contentProblem(batch);
  if (problem !== undefined) refuse("AlteredContent", problem);
}

const headerForm: Readonly<Record<Exclude<keyof EventHeader, "seq">, RegExp>> = {
  stream: /^[\x21-\x7e]{1,512}$/,
  time: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
  type: /^[a-z][a-z-]{0,31}$/,
  prev: /^sha256-[\w-]{43}$/,
  bodyHash: /^sha256-[\w-]{43}$/,
};

function isWellFormed(event: StoredEvent | undefined): boolean {
  if (typeof event !== "object" || event === null) return false;
  const header: Readonly<Record<string, unknown>> = { ...event.header };
  const body: unknown = event.body;
  if (typeof body !== "object" || body === null || Array.isArray(body) || shadowsHeader(body))
    return false;
  const { seq } = header;
  if (!Number.isSafeInteger(seq) || Number(seq) < 1 || !headerForm.prev.test(event.hash))
    return false;
  return Object.entries(headerForm).every(([key, form]) => {
    const value = header[key];
    return typeof value === "string" && form.test(value);
  });
}

/** Every text an event refers to is there, every text is referred to, and each is what its digest says. */
function contentProblem({ events, contents }: EventBatch): string | undefined {
  const bySeq = Map.groupBy(contents, (content) => content.seq);
  for (const { header, body } of events) {
    const given = bySeq.get(header.seq) ?? [];
    bySeq.delete(header.seq);
    const refs = body.operation?.content ?? [];
    const matches =
      refs.length === given.length &&
      refs.every(
        (ref, index) => given[index]?.sha256 === ref.sha256 && given[index]?.part === ref.part,
      );
    if (!matches) return `the contents of event ${header.seq} are not the ones it refers to`;
    if (
      given.some(
        (content) =>
          typeof content.text !== "string" ||
          content.session !== body.session ||
          sha256(content.text) !== content.sha256,
      )
    )
      return `a content of event ${header.seq} is not what its digest says`;
  }
  const stray = bySeq.keys().next();
  return stray.done === true
    ? undefined
    : `contents name event ${stray.value}, which is not in the batch`;
}

export type IngestResult = { readonly acknowledged: number } | { readonly refusal: IngestRefusal };

/** One checked batch, inside a transaction that others may share: it writes only when nothing is wrong. */
export async function ingestBatch(
  tx: Writing,
  batch: EventBatch,
  now: string,
): Promise<IngestResult> {
  const { stream } = batch;
  const row = await tx
    .selectFrom("streams")
    .select(["seq", "hash"])
    .where("stream", "=", stream)
    .executeTakeFirst();
  const at: ChainPosition =
    row === undefined ? startOf(stream) : { stream, seq: Number(row.seq), hash: row.hash };
  const refusal = (await conflict(tx, batch, at)) ?? gap(batch, at);
  if (refusal !== undefined) {
    await recordProblem(tx, refusal, now);
    return { refusal };
  }
  const fresh = batch.events.filter((event) => event.header.seq > at.seq);
  const last = fresh.at(-1);
  if (last === undefined) return { acknowledged: at.seq };
  await insertEvents(tx, fresh, batch.contents);
  await addSessions(tx, fresh);
  await moveHead(tx, { stream, seq: last.header.seq, hash: last.hash }, now);
  await keepCheckpoint(tx, batch, last, now);
  return { acknowledged: last.header.seq };
}

/**
 * Takes the next ids and returns the one before them. The row stays locked until the transaction ends, so transactions
 * of several replicas follow one another and ids become visible in their order. Call it first, with 0, to wait in line.
 */
export async function reserveIds(tx: Writing, count: number): Promise<number> {
  const { value } = await tx
    .updateTable("counters")
    .set((eb) => ({ value: eb("value", "+", count) }))
    .where("name", "=", eventIds)
    .returning("value")
    .executeTakeFirstOrThrow();
  return Number(value) - count;
}

/** Events that are here already must be the same: their chain was verified, so comparing the last of them is enough. */
async function conflict(
  tx: Writing,
  { stream, events }: EventBatch,
  at: ChainPosition,
): Promise<IngestRefusal | undefined> {
  const expected = at.seq + 1;
  const refused = (message: string): IngestRefusal => ({
    code: "StreamConflict",
    stream,
    expected,
    message,
  });
  const known = events.findLast((event) => event.header.seq <= at.seq);
  if (known !== undefined) {
    const row = await tx
      .selectFrom("event_headers")
      .select("hash")
      .where("stream", "=", stream)
      .where("seq", "=", known.header.seq)
      .executeTakeFirst();
    if (row?.hash !== known.hash)
      return refused(`event ${known.header.seq} of ${stream} is stored with another content`);
  }
  const next = events.find((event) => event.header.seq === expected);
  if (next !== undefined && next.header.prev !== at.hash)
    return refused(`event ${expected} of ${stream} does not link to the stored event ${at.seq}`);
  return undefined;
}

function gap({ stream, events }: EventBatch, at: ChainPosition): IngestRefusal | undefined {
  const first = events.find((event) => event.header.seq > at.seq);
  const expected = at.seq + 1;
  if (first === undefined || first.header.seq === expected) return undefined;
  if (at.seq === 0 && isSuccessor(stream) && first.header.prev === firstPrev) return undefined;
  return {
    code: "SequenceGap",
    stream,
    expected,
    message: `stream ${stream} goes on with event ${expected}; this batch starts at ${first.header.seq}`,
  };
}

async function insertEvents(
  tx: Writing,
  events: readonly StoredEvent[],
  contents: readonly ContentRecord[],
): Promise<void> {
  const firstId = (await reserveIds(tx, events.length)) + 1;
  const idBySeq = new Map(events.map((event, index) => [event.header.seq, firstId + index]));
  await insertAll(events, async (some, from) => {
    await tx
      .insertInto("event_headers")
      .values(some.map((event, index) => headerRow(firstId + from + index, event)))
      .execute();
    await tx
      .insertInto("event_bodies")
      .values(some.map((event, index) => bodyRow(firstId + from + index, event)))
      .execute();
  });
  const positions = new Map<number, number>();
  const rows = contents.flatMap(({ session, seq, part, sha256: digest, text }) => {
    const id = idBySeq.get(seq);
    if (id === undefined) return [];
    const position = positions.get(seq) ?? 0;
    positions.set(seq, position + 1);
    return [{ event_id: id, position, session, part, sha256: digest, text: encodeText(text) }];
  });
  await insertAll(rows, async (some) => {
    await tx
      .insertInto("contents")
      .values([...some])
      .execute();
  });
}

async function insertAll<T>(
  rows: readonly T[],
  insert: (some: readonly T[], from: number) => Promise<void>,
): Promise<void> {
  for (let from = 0; from < rows.length; from += rowsPerInsert)
    await insert(rows.slice(from, from + rowsPerInsert), from);
}

function headerRow(id: number, { header, hash }: StoredEvent): AuditSchema["event_headers"] {
  const { stream, seq, time, type, prev, bodyHash } = header;
  return { id, stream, seq, time, type, prev, body_hash: bodyHash, hash, pruned_at: null };
}

function bodyRow(id: number, { body }: StoredEvent): AuditSchema["event_bodies"] {
  const { subject, connection, decision } = body;
  return {
    id,
    body: JSON.stringify(body),
    session: column(body.session),
    namespace: column(subject?.namespace ?? connection?.namespace),
    service_account: column(subject?.serviceAccount),
    pod: column(subject?.pod),
    pod_uid: column(subject?.podUid),
    chain: column(subject?.chain),
    connection:
      connection === undefined ? null : column(`${connection.namespace}/${connection.name}`),
    verdict: column(decision?.verdict),
    policy: column(decision?.policy),
    rule: column(decision?.rule),
  };
}

/** Additive, so that it does not matter how many batches a session arrives in. */
async function addSessions(tx: Writing, events: readonly StoredEvent[]): Promise<void> {
  const rows = foldSessions(events);
  if (rows.length === 0) return;
  await tx
    .insertInto("sessions")
    .values([...rows])
    .onConflict((conflicting) =>
      conflicting.column("id").doUpdateSet((eb) => ({
        chain: eb.fn.coalesce("excluded.chain", "sessions.chain"),
        last_at: eb
          .case()
          .when("excluded.last_at", ">", eb.ref("sessions.last_at"))
          .then(eb.ref("excluded.last_at"))
          .else(eb.ref("sessions.last_at"))
          .end(),
        ended: eb
          .case()
          .when("excluded.ended", "=", 1)
          .then(1)
          .else(eb.ref("sessions.ended"))
          .end(),
        operations: eb("sessions.operations", "+", eb.ref("excluded.operations")),
        denied: eb("sessions.denied", "+", eb.ref("excluded.denied")),
        held: eb("sessions.held", "+", eb.ref("excluded.held")),
        masked: eb("sessions.masked", "+", eb.ref("excluded.masked")),
      })),
    )
    .execute();
}

async function moveHead(
  tx: Writing,
  { stream, seq, hash }: ChainPosition,
  now: string,
): Promise<void> {
  await tx
    .insertInto("streams")
    .values({ stream, seq, hash, first_at: now, last_at: now })
    .onConflict((conflicting) =>
      conflicting.column("stream").doUpdateSet({ seq, hash, last_at: now }),
    )
    .execute();
}

async function keepCheckpoint(
  tx: Writing,
  { stream, head }: EventBatch,
  last: StoredEvent,
  now: string,
): Promise<void> {
  const row = { seq: last.header.seq, hash: last.hash, head, received_at: now };
  await tx
    .insertInto("checkpoints")
    .values({ stream, period: now.slice(0, "2026-11-20T10".length), ...row })
    .onConflict((conflicting) => conflicting.columns(["stream", "period"]).doUpdateSet(row))
    .execute();
}

async function recordProblem(
  tx: Writing,
  { stream, code, expected, message }: IngestRefusal,
  now: string,
): Promise<void> {
  await tx
    .insertInto("problems")
    .values({ stream, code, expected, message, times: 1, first_at: now, last_at: now })
    .onConflict((conflicting) =>
      conflicting
        .columns(["stream", "code", "expected"])
        .doUpdateSet((eb) => ({ times: eb("problems.times", "+", 1), last_at: now })),
    )
    .execute();
}
