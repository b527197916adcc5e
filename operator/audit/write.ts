// The rows of a group of checked batches, in as few statements as there are tables.
import type { IngestRefusal } from "../../contract/chain.ts";
import type { StoredEvent } from "../../contract/event.ts";
import { type Columns, columnsOf, each, eachSearched, insertColumns } from "./bulk.ts";
import type { CheckedBatch, CheckedEvent } from "./check.ts";
import { type AuditSchema, column, encodeText, eventIds, type Writing } from "./schema.ts";
import { connectionName, foldSessions } from "./sessions.ts";

/** The events of one batch that the store does not have. */
export interface Fresh {
  readonly batch: CheckedBatch;
  readonly events: readonly CheckedEvent[];
}

/**
 * Takes the next ids and returns the first. The row stays locked until the transaction ends, so transactions of several
 * replicas follow one another and ids become visible in their order. Call it before anything is read. Unused ids are
 * holes that mean nothing.
 */
export async function reserveIds(tx: Writing, count: number): Promise<number> {
  const { value } = await tx
    .updateTable("counters")
    .set((eb) => ({ value: eb("value", "+", count) }))
    .where("name", "=", eventIds)
    .returning("value")
    .executeTakeFirstOrThrow();
  return Number(value) - count + 1;
}

export async function writeFresh(
  tx: Writing,
  fresh: readonly Fresh[],
  firstId: number,
  now: string,
): Promise<void> {
  const events = fresh.flatMap((one) => one.events);
  const contents = contentRows(fresh, firstId);
  const sessions = foldSessions(events);
  const heads = [...lastOfStreams(fresh).values()];
  await insertColumns(tx, "event_headers", headerColumns(events, firstId), events.length);
  await insertColumns(tx, "event_bodies", bodyColumns(events, firstId), events.length);
  if (contents.length > 0)
    await insertColumns(tx, "contents", columnsOf(contents), contents.length);
  if (sessions.length > 0)
    await insertColumns(tx, "sessions", columnsOf(sessions), sessions.length, addToSession);
  await insertColumns(tx, "streams", streamColumns(heads, now), heads.length, moveHead);
  await insertColumns(
    tx,
    "checkpoints",
    checkpointColumns(heads, now),
    heads.length,
    replaceCheckpoint,
  );
}

function headerColumns(
  events: readonly CheckedEvent[],
  firstId: number,
): Columns<AuditSchema["event_headers"]> {
  return {
    id: each(events, (_event, index) => firstId + index),
    stream: each(events, ({ header }) => header.stream),
    seq: each(events, ({ header }) => header.seq),
    time: each(events, ({ header }) => header.time),
    type: each(events, ({ header }) => header.type),
    prev: each(events, ({ header }) => header.prev),
    body_hash: each(events, ({ header }) => header.bodyHash),
    hash: each(events, ({ hash }) => hash),
    pruned_at: null,
  };
}

function bodyColumns(
  events: readonly CheckedEvent[],
  firstId: number,
): Columns<AuditSchema["event_bodies"]> {
  return {
    id: each(events, (_event, index) => firstId + index),
    body: each(events, ({ canonical }) => canonical.body),
    session: eachSearched(events, ({ body }) => body.session),
    namespace: eachSearched(
      events,
      ({ body }) => body.subject?.namespace ?? body.connection?.namespace,
    ),
    service_account: eachSearched(events, ({ body }) => body.subject?.serviceAccount),
    pod: eachSearched(events, ({ body }) => body.subject?.pod),
    pod_uid: eachSearched(events, ({ body }) => body.subject?.podUid),
    chain: eachSearched(events, ({ body }) => body.subject?.chain),
    connection: eachSearched(events, ({ body }) => connectionName(body)),
    verdict: eachSearched(events, ({ body }) => body.decision?.verdict),
    policy: eachSearched(events, ({ body }) => body.decision?.policy),
    rule: eachSearched(events, ({ body }) => body.decision?.rule),
  };
}

function contentRows(fresh: readonly Fresh[], firstId: number): readonly AuditSchema["contents"][] {
  let next = firstId;
  return fresh.flatMap(({ batch, events }) => {
    const idBySeq = new Map(events.map((event) => [event.header.seq, next++]));
    const positions = new Map<number, number>();
    return batch.contents.flatMap(({ session, seq, part, sha256, text }) => {
      const id = idBySeq.get(seq);
      if (id === undefined) return [];
      const position = positions.get(seq) ?? 0;
      positions.set(seq, position + 1);
      return [
        {
          event_id: id,
          position,
          session: column(session) ?? "",
          part,
          sha256,
          text: encodeText(text),
        },
      ];
    });
  });
}

/** Additive, so that it does not matter how many batches a session arrives in. */
const addToSession = `on conflict (id) do update set
  chain = coalesce(excluded.chain, sessions.chain),
  last_at = case when excluded.last_at > sessions.last_at then excluded.last_at else sessions.last_at end,
  ended = case when excluded.ended = 1 then 1 else sessions.ended end,
  operations = sessions.operations + excluded.operations,
  denied = sessions.denied + excluded.denied,
  held = sessions.held + excluded.held,
  masked = sessions.masked + excluded.masked`;

const moveHead =
  "on conflict (stream) do update set seq = excluded.seq, hash = excluded.hash, last_at = excluded.last_at";

function streamColumns(heads: readonly Head[], now: string): Columns<AuditSchema["streams"]> {
  return {
    stream: each(heads, ({ last }) => last.header.stream),
    seq: each(heads, ({ last }) => last.header.seq),
    hash: each(heads, ({ last }) => last.hash),
    first_at: now,
    last_at: now,
  };
}

const replaceCheckpoint = `on conflict (stream, period) do update set
  seq = excluded.seq, hash = excluded.hash, head = excluded.head, received_at = excluded.received_at`;

function checkpointColumns(
  heads: readonly Head[],
  now: string,
): Columns<AuditSchema["checkpoints"]> {
  return {
    stream: each(heads, ({ last }) => last.header.stream),
    period: now.slice(0, "2026-11-20T10".length),
    seq: each(heads, ({ last }) => last.header.seq),
    hash: each(heads, ({ last }) => last.hash),
    head: each(heads, ({ head }) => head),
    received_at: now,
  };
}

interface Head {
  readonly last: StoredEvent;
  readonly head: string;
}

/** One row a stream, or the upsert would meet itself. */
function lastOfStreams(fresh: readonly Fresh[]): ReadonlyMap<string, Head> {
  const heads = new Map<string, Head>();
  for (const { batch, events } of fresh) {
    const last = events.at(-1);
    if (last !== undefined) heads.set(batch.stream, { last, head: batch.head });
  }
  return heads;
}

export async function recordProblem(
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
