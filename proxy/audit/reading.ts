// Reads records back from the segments when they are no longer in memory: after a restart, or when the operator was away.
import { readFile } from "node:fs/promises";
import { parseRecord, type SpoolRecord } from "./record.ts";
import type { Segment } from "./segments.ts";

/** A record that must be there is not, or is not what was written. The remedy is `Spool.restart`. */
export class SpoolDamaged extends Error {
  override readonly name = "SpoolDamaged";
}

/** Records `from`..`last` of the segment that holds `from`; the rest follows at the next call. Checks each against its hashes. */
export async function readRecords(
  segments: readonly Segment[],
  from: number,
  last: number,
): Promise<readonly SpoolRecord[]> {
  if (from > last) return [];
  const segment = segments.findLast((candidate) => candidate.firstSeq <= from);
  if (segment === undefined) throw new SpoolDamaged(`event ${from} is not in the spool any more`);
  const bytes = await readFile(segment.file);
  const records: SpoolRecord[] = [];
  // Numbers are consecutive within a segment, so lines before `from` need not be parsed. The first line is the segment's own.
  let start = bytes.indexOf(10) + 1;
  for (let seq = segment.firstSeq; seq <= last; seq += 1) {
    const end = start === 0 ? -1 : bytes.indexOf(10, start);
    if (end < 0) break;
    if (seq >= from) records.push(checked(bytes.toString("utf8", start, end), seq));
    start = end + 1;
  }
  if (records.length === 0) throw new SpoolDamaged(`event ${from} is missing from ${segment.file}`);
  return records;
}

function checked(line: string, seq: number): SpoolRecord {
  const record = parseRecord(line);
  if (record === undefined || record.event.header.seq !== seq)
    throw new SpoolDamaged(`event ${seq} is not what was recorded`);
  return record;
}
