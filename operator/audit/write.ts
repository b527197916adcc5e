// The rows of a group of checked batches, in as few statements as there are tables.
import { canonicalJson } from "../../contract/canonical.ts";
import type { IngestRefusal } from "../../contract/chain.ts";
import type { EventBatch } from "../../contract/control.ts";
import type { StoredEvent } from "../../contract/event.ts";
import { columnsOf, insertColumns } from "./bulk.ts";
import { type AuditSchema, column, encodeText, eventIds, type Writing } from "./schema.ts";
import { foldSessions } from "./sessions.ts";

const headerNames = [
  "id",
  "stream",
  "seq",
  "time",
  "type",
  "prev",
  "body_hash",
  "hash",
  "pruned_at",
] as const;
const bodyNames = [
  "id",
  "body",
  "session",
  "namespace",
  "service_account",
  "pod",
  "pod_uid",
  "chain",
  "connection",
  "verdict",
  "policy",
  "rule",
] as const;
const contentNames = ["event_id", "position", "session", "part", "sha256", "text"] as const;

/** The events of one batch that the store does not have. */
export interface Fresh {
  readonly batch: EventBatch;
  readonly events: readonly StoredEvent[];
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
  const headers = events.map((event, index) => headerRow(firstId + index, event));
  const bodies = events.map((event, index) => bodyRow(firstId + index, event));
  const contents = contentRows(fresh, firstId);
  await insertColumns(tx, "event_headers", columnsOf(headerNames, headers), headers.length);
  await insertColumns(tx, "event_bodies", columnsOf(bodyNames, bodies), bodies.length);
  if (contents.length > 0)
    await insertColumns(tx, "contents", columnsOf(contentNames, contents), contents.length);
  await addSessions(tx, events);
  await moveHeads(tx, fresh, now);
  await keepCheckpoints(tx, fresh, now);
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

function headerRow(id: number, { header, hash }: StoredEvent): AuditSchema["event_headers"] {
  const { stream, seq, time, type, prev, bodyHash } = header;
  return { id, stream, seq, time, type, prev, body_hash: bodyHash, hash, pruned_at: null };
}

function bodyRow(id: number, { body }: StoredEvent): AuditSchema["event_bodies"] {
  const { subject, connection, decision } = body;
  return {
    id,
    // Written when its digest was checked (check.ts), and kept.
    body: canonicalJson(body),
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

async function moveHeads(tx: Writing, fresh: readonly Fresh[], now: string): Promise<void> {
  const rows = [...lastOfStreams(fresh)].map(([stream, { last }]) => ({
    stream,
    seq: last.header.seq,
    hash: last.hash,
    first_at: now,
    last_at: now,
  }));
  await tx
    .insertInto("streams")
    .values(rows)
    .onConflict((conflicting) =>
      conflicting.column("stream").doUpdateSet((eb) => ({
        seq: eb.ref("excluded.seq"),
        hash: eb.ref("excluded.hash"),
        last_at: now,
      })),
    )
    .execute();
}

async function keepCheckpoints(tx: Writing, fresh: readonly Fresh[], now: string): Promise<void> {
  const period = now.slice(0, "2026-11-20T10".length);
  const rows = [...lastOfStreams(fresh)].map(([stream, { last, head }]) => ({
    stream,
    period,
    seq: last.header.seq,
    hash: last.hash,
    head,
    received_at: now,
  }));
  await tx
    .insertInto("checkpoints")
    .values(rows)
    .onConflict((conflicting) =>
      conflicting.columns(["stream", "period"]).doUpdateSet((eb) => ({
        seq: eb.ref("excluded.seq"),
        hash: eb.ref("excluded.hash"),
        head: eb.ref("excluded.head"),
        received_at: now,
      })),
    )
    .execute();
}

/** One row a stream, or the upsert would meet itself. */
function lastOfStreams(
  fresh: readonly Fresh[],
): ReadonlyMap<string, { readonly last: StoredEvent; readonly head: string }> {
  const heads = new Map<string, { readonly last: StoredEvent; readonly head: string }>();
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
