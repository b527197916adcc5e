// What earlier runs recorded and could not ship: each start of local mode has a spool of its own, and the next start takes what is left of it.
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { EventAck, EventBatch } from "../../contract/control.ts";
import { batchOf, recordsOf } from "../../contract/delivery.ts";
import { streamOf } from "../../proxy/audit/recover.ts";
import { createShipper } from "../../proxy/audit/ship.ts";
import { openSpool } from "../../proxy/audit/spool.ts";

export interface LeftoverOptions {
  /** Holds one directory for each start. */
  readonly spools: string;
  readonly ingest: (batch: EventBatch) => Promise<EventAck>;
  readonly sign: (hash: string) => Promise<string>;
  readonly say: (line: string) => void;
  /** For each of them. */
  readonly shipMs?: number;
}

/** A full spool (64 MiB) takes about two seconds; what is not done then waits for the next start. */
const defaultShipMs = 10_000;

/** Ships every leftover spool into the store and removes it. One that cannot be shipped stays, and is told. */
export async function shipLeftovers(options: LeftoverOptions): Promise<void> {
  for (const name of readdirSync(options.spools)) {
    const directory = join(options.spools, name);
    try {
      const behind = await shipOne(directory, options);
      if (behind === 0) rmSync(directory, { recursive: true, force: true });
      else
        options.say(
          `${behind} events of an earlier run are still in ${directory}; the next start tries again`,
        );
    } catch (error) {
      options.say(
        `the recording of an earlier run in ${directory} cannot be shipped: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }
}

/** How many events stay behind. */
async function shipOne(directory: string, options: LeftoverOptions): Promise<number> {
  const stream = streamOf(directory);
  if (stream === undefined) return 0;
  const spool = openSpool({ directory, stream: stream.replace(/\.[1-9][0-9]*$/, "") });
  const shipper = createShipper({
    spool,
    sign: options.sign,
    send: (batch) => options.ingest(batchOf({ ...batch, records: recordsOf(batch.lines) })),
  });
  try {
    return (await shipper.flush(options.shipMs ?? defaultShipMs)).unshipped;
  } finally {
    await shipper.close();
    await spool.close();
  }
}
