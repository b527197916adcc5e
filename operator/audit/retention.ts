// Deletes bodies and texts whose time has come. Headers stay, so the chain still proves that nothing else is missing.
import type { AuditDatabase } from "./schema.ts";

/** Events of one transaction: short enough that recording never waits for it. */
const eventsPerPass = 500;

export interface PruneOptions {
  /** RFC 3339: events recorded before this lose their body. */
  readonly before: string;
  /** Only events that this policy (`namespace/name`) decided; retention is per policy. */
  readonly policy?: string;
  /** RFC 3339: noted beside the header. */
  readonly now: string;
  readonly signal?: AbortSignal;
}

/** Returns how many events were pruned. */
export async function prune(db: AuditDatabase, options: PruneOptions): Promise<number> {
  let pruned = 0;
  for (;;) {
    options.signal?.throwIfAborted();
    const ids = await due(db, options);
    if (ids.length === 0) return pruned;
    await db.transaction().execute(async (tx) => {
      await tx
        .updateTable("event_headers")
        .set({ pruned_at: options.now })
        .where("id", "in", ids)
        .execute();
      await tx.deleteFrom("contents").where("event_id", "in", ids).execute();
      await tx.deleteFrom("event_bodies").where("id", "in", ids).execute();
    });
    pruned += ids.length;
  }
}

async function due(db: AuditDatabase, { before, policy }: PruneOptions): Promise<number[]> {
  let rows = db
    .selectFrom("event_headers as h")
    .innerJoin("event_bodies as b", "b.id", "h.id")
    .select("h.id")
    .where("h.time", "<", before);
  if (policy !== undefined) rows = rows.where("b.policy", "=", policy);
  return (await rows.orderBy("h.id").limit(eventsPerPass).execute()).map((row) => Number(row.id));
}
