// Proves the stored streams: every number, link, body, text and signed head, in batches that never hold more than a page.
import { sha256 } from "../../contract/canonical.ts";
import {
  type ChainFaultKind,
  type ChainLink,
  type ChainPosition,
  startOf,
  verifyChain,
} from "../../contract/chain.ts";
import { toBody, toHeader } from "./rows.ts";
import { type AuditDatabase, decodeText } from "./schema.ts";

/** Events read and verified at a time. */
const pageEvents = 500;
/** Events whose texts are read at a time: each may have a megabyte of them. */
const pageTexts = 32;

export type StreamFaultKind =
  | ChainFaultKind
  | "altered-content"
  | "missing-content"
  | "head-mismatch";

export interface StreamFault {
  readonly seq: number;
  readonly kind: StreamFaultKind;
  readonly message: string;
}

export interface StreamVerdict {
  readonly stream: string;
  readonly ok: boolean;
  /** Events that were verified. */
  readonly events: number;
  /** Of those, how many have lost their body to retention or erasure. */
  readonly pruned: number;
  /** Losses that the stream itself states. They do not break it. */
  readonly gaps: number;
  readonly fault?: StreamFault;
}

export interface VerifyOptions {
  readonly stream?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { readonly stream: string; readonly events: number }) => void;
}

/** Every stream, or one, with the first fault of each. */
export async function verifyStreams(
  db: AuditDatabase,
  options: VerifyOptions = {},
): Promise<readonly StreamVerdict[]> {
  const verdicts: StreamVerdict[] = [];
  for (const stream of options.stream === undefined ? await allStreams(db) : [options.stream])
    verdicts.push(await verifyStream(db, stream, options));
  return verdicts;
}

/** Also streams whose own row has been deleted: their events are still there. */
async function allStreams(db: AuditDatabase): Promise<readonly string[]> {
  const known = db.selectFrom("streams").select("stream");
  const recorded = db.selectFrom("event_headers").select("stream");
  const signed = db.selectFrom("checkpoints").select("stream");
  const rows = await known.union(recorded).union(signed).execute();
  return rows.map((row) => row.stream).sort();
}

interface Tally {
  events: number;
  pruned: number;
  gaps: number;
}

async function verifyStream(
  db: AuditDatabase,
  stream: string,
  { signal, onProgress }: VerifyOptions,
): Promise<StreamVerdict> {
  const tally: Tally = { events: 0, pruned: 0, gaps: 0 };
  const heads = await knownHeads(db, stream);
  let position = startOf(stream);
  for (;;) {
    signal?.throwIfAborted();
    const page = await readPage(db, position);
    if (page.length === 0) break;
    const result = verifyChain(page, position);
    const fault = result.fault ?? (await contentFault(db, page)) ?? headFault(page, heads);
    count(tally, page.slice(0, result.verified));
    if (fault !== undefined) return { stream, ok: false, ...tally, fault };
    position = result.position;
    onProgress?.({ stream, events: tally.events });
  }
  const fault = endFault(position, heads);
  return fault === undefined
    ? { stream, ok: true, ...tally }
    : { stream, ok: false, ...tally, fault };
}

interface PageLink extends ChainLink {
  readonly id: number;
}

async function readPage(db: AuditDatabase, after: ChainPosition): Promise<readonly PageLink[]> {
  const rows = await db
    .selectFrom("event_headers as h")
    .leftJoin("event_bodies as b", "b.id", "h.id")
    .select([
      "h.id",
      "h.stream",
      "h.seq",
      "h.time",
      "h.type",
      "h.prev",
      "h.body_hash",
      "h.hash",
      "h.pruned_at",
      "b.body",
    ])
    .where("h.stream", "=", after.stream)
    .where("h.seq", ">", after.seq)
    .orderBy("h.seq")
    .limit(pageEvents)
    .execute();
  return rows.map((row) => ({
    id: Number(row.id),
    header: toHeader(row),
    hash: row.hash,
    body: bodyOf(row),
  }));
}

function bodyOf(row: {
  readonly body: string | null;
  readonly pruned_at: string | null;
}): ChainLink["body"] {
  if (row.body === null) return row.pruned_at === null ? undefined : "pruned";
  return toBody(row.body);
}

function count(tally: Tally, page: readonly PageLink[]): void {
  tally.events += page.length;
  tally.pruned += page.filter((link) => link.body === "pruned").length;
  tally.gaps += page.filter((link) => link.header.type === "gap").length;
}

async function contentFault(
  db: AuditDatabase,
  page: readonly PageLink[],
): Promise<StreamFault | undefined> {
  const withTexts = page.filter(
    (link) => typeof link.body === "object" && (link.body.operation?.content?.length ?? 0) > 0,
  );
  for (let from = 0; from < withTexts.length; from += pageTexts) {
    const some = withTexts.slice(from, from + pageTexts);
    const ids = some.map((link) => link.id);
    const rows = await db
      .selectFrom("contents")
      .select(["event_id", "text"])
      .where("event_id", "in", ids)
      .orderBy("event_id")
      .orderBy("position")
      .execute();
    const texts = Map.groupBy(rows, (row) => Number(row.event_id));
    for (const link of some) {
      const fault = textsFault(
        link,
        (texts.get(link.id) ?? []).map((row) => row.text),
      );
      if (fault !== undefined) return fault;
    }
  }
  return undefined;
}

function textsFault(
  { header, body }: PageLink,
  stored: readonly string[],
): StreamFault | undefined {
  const refs = typeof body === "object" ? (body.operation?.content ?? []) : [];
  if (stored.length !== refs.length)
    return {
      seq: header.seq,
      kind: "missing-content",
      message: `event ${header.seq} refers to ${refs.length} texts; ${stored.length} are stored`,
    };
  const altered = refs.some((ref, index) => digestOf(stored[index] ?? "") !== ref.sha256);
  return altered
    ? {
        seq: header.seq,
        kind: "altered-content",
        message: `a text of event ${header.seq} is not the one that was recorded`,
      }
    : undefined;
}

function digestOf(stored: string): string | undefined {
  try {
    return sha256(decodeText(stored));
  } catch {
    return undefined;
  }
}

interface Head {
  readonly hash: string;
  /** The proxy's signature; absent for the store's own note of where the stream stands. */
  readonly signature?: string;
}

type Heads = ReadonlyMap<number, readonly Head[]>;

/** Read before the events: a stream that grows meanwhile goes past them. */
async function knownHeads(db: AuditDatabase, stream: string): Promise<Heads> {
  const signed = await db
    .selectFrom("checkpoints")
    .select(["seq", "hash", "head as signature"])
    .where("stream", "=", stream)
    .execute();
  const own = await db
    .selectFrom("streams")
    .select(["seq", "hash"])
    .where("stream", "=", stream)
    .execute();
  return Map.groupBy<number, Head & { readonly seq: number }>([...signed, ...own], (head) =>
    Number(head.seq),
  );
}

/** A chain that was recomputed as a whole links, but not to the heads that the proxies signed. */
function headFault(page: readonly PageLink[], heads: Heads): StreamFault | undefined {
  for (const { header, hash } of page) {
    const mismatch = heads
      .get(header.seq)
      ?.some((head) => head.hash !== hash || !signs(head.signature, hash));
    if (mismatch === true)
      return {
        seq: header.seq,
        kind: "head-mismatch",
        message: `event ${header.seq} is not the one whose hash was signed and noted when it arrived`,
      };
  }
  return undefined;
}

/** The payload of a compact JWS must be the hash. The signature itself is checked against the grant's key on arrival. */
function signs(signature: string | undefined, hash: string): boolean {
  const parts = signature?.split(".") ?? [];
  return (
    parts.length !== 3 ||
    Buffer.from(parts[1] ?? "", "base64url")
      .toString()
      .includes(hash)
  );
}

/** The end can be cut off without breaking a link: the heads say how far the stream went. */
function endFault(at: ChainPosition, heads: Heads): StreamFault | undefined {
  const last = Math.max(0, ...heads.keys());
  if (last > at.seq)
    return {
      seq: at.seq + 1,
      kind: "gap",
      message: `the stream went on to event ${last}; those after ${at.seq} are missing`,
    };
  if (heads.size === 0)
    return {
      seq: at.seq,
      kind: "head-mismatch",
      message: "the store has lost its note of where this stream stands",
    };
  return undefined;
}
