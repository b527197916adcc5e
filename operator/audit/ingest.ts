// Puts batches into the store, once each: several in one transaction, each taken or refused for itself.
import {
  type ChainPosition,
  firstPrev,
  type IngestRefusal,
  IngestRefused,
  isSuccessor,
  startOf,
} from "../../contract/chain.ts";
import type { EventBatch } from "../../contract/control.ts";
import {
  type CheckedBatch,
  checkBatch,
  checkDelivery,
  type OwnDelivery,
  SubjectNotOwn,
} from "./check.ts";
import type { AuditDatabase, Writing } from "./schema.ts";
import { type Fresh, recordProblem, reserveIds, writeFresh } from "./write.ts";

export type Arrival = EventBatch | OwnDelivery;

export type IngestResult =
  | { readonly acknowledged: number }
  | { readonly refusal: IngestRefusal }
  /** The sentence of a SubjectNotOwn. */
  | { readonly notOwn: string };

/** Checks each batch for itself, and stores the sound ones in one transaction. `now` is RFC 3339. */
export async function ingestGroup(
  db: AuditDatabase,
  group: readonly Arrival[],
  now: string,
): Promise<readonly IngestResult[]> {
  const checked = group.map(check);
  const sound = checked.filter((one) => "events" in one);
  const stored =
    sound.length === 0 ? [] : await db.transaction().execute((tx) => storeBatches(tx, sound, now));
  const results = new Map(sound.map((batch, index) => [batch, stored[index]]));
  return checked.flatMap((one) => ("events" in one ? (results.get(one) ?? []) : one));
}

function check(arrival: Arrival): CheckedBatch | IngestResult {
  try {
    return "lines" in arrival ? checkDelivery(arrival) : checkBatch(arrival);
  } catch (error) {
    if (error instanceof IngestRefused) return { refusal: error.refusal };
    if (error instanceof SubjectNotOwn) return { notOwn: error.message };
    throw error;
  }
}

/** Everything is decided before anything is written, so a refused batch leaves nothing but the note that it came. */
async function storeBatches(
  tx: Writing,
  batches: readonly CheckedBatch[],
  now: string,
): Promise<readonly IngestResult[]> {
  const firstId = await reserveIds(
    tx,
    batches.reduce((sum, batch) => sum + batch.events.length, 0),
  );
  const heads = await readHeads(tx, batches);
  const fresh: Fresh[] = [];
  const results: IngestResult[] = [];
  for (const batch of batches) {
    const at = heads.get(batch.stream) ?? startOf(batch.stream);
    const refusal = (await conflict(tx, batch, at, fresh)) ?? gap(batch, at);
    if (refusal !== undefined) {
      await recordProblem(tx, refusal, now);
      results.push({ refusal });
      continue;
    }
    const events = batch.events.filter((event) => event.header.seq > at.seq);
    const last = events.at(-1);
    if (last !== undefined) {
      fresh.push({ batch, events });
      heads.set(batch.stream, { stream: batch.stream, seq: last.header.seq, hash: last.hash });
    }
    results.push({ acknowledged: last?.header.seq ?? at.seq });
  }
  if (fresh.length > 0) await writeFresh(tx, fresh, firstId, now);
  return results;
}

async function readHeads(
  tx: Writing,
  batches: readonly CheckedBatch[],
): Promise<Map<string, ChainPosition>> {
  const names = [...new Set(batches.map((batch) => batch.stream))];
  const rows = await tx
    .selectFrom("streams")
    .select(["stream", "seq", "hash"])
    .where("stream", "in", names)
    .execute();
  return new Map(rows.map(({ stream, seq, hash }) => [stream, { stream, seq: Number(seq), hash }]));
}

/** Events that are here already must be the same: their chain was verified, so comparing the last of them is enough. */
async function conflict(
  tx: Writing,
  { stream, events }: CheckedBatch,
  at: ChainPosition,
  fresh: readonly Fresh[],
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
    const { seq } = known.header;
    if ((await storedHash(tx, stream, seq, fresh)) !== known.hash)
      return refused(`event ${seq} of ${stream} is stored with another content`);
  }
  const next = events.find((event) => event.header.seq === expected);
  if (next === undefined || next.header.prev === at.hash) return undefined;
  return refused(`event ${expected} of ${stream} does not link to the stored event ${at.seq}`);
}

async function storedHash(
  tx: Writing,
  stream: string,
  seq: number,
  fresh: readonly Fresh[],
): Promise<string | undefined> {
  for (const { batch, events } of fresh) {
    const pending =
      batch.stream === stream ? events.find((event) => event.header.seq === seq) : undefined;
    if (pending !== undefined) return pending.hash;
  }
  const row = await tx
    .selectFrom("event_headers")
    .select("hash")
    .where("stream", "=", stream)
    .where("seq", "=", seq)
    .executeTakeFirst();
  return row?.hash;
}

function gap({ stream, events }: CheckedBatch, at: ChainPosition): IngestRefusal | undefined {
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
