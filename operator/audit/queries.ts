// The questions people ask of the recording. One set for SQLite and PostgreSQL; every answer is bounded.
import { type BudgetRow, readBudgets } from "../budgets/used.ts";
import { sql } from "kysely";
import type { ContentRecord, ContentRef, StoredEvent } from "../../contract/event.ts";
import { type EventRow, toEvent } from "./rows.ts";
import { type AuditDatabase, decodeText, encodeText, type SessionTable } from "./schema.ts";
import { type StreamVerdict, verifyStreams } from "./verify.ts";

/** Events of one page, whatever is asked for. */
export const maxPageEvents = 1_000;
/** Sessions of one list; a row is some 300 bytes. */
export const maxListedSessions = 20_000;
/** Events of one recording; a replay of more is no replay. */
export const maxRecordingEvents = 10_000;
/** Texts of one recording, as JSON; what does not fit is left out, newest last. */
const maxRecordingTextBytes = 64 * 1024 * 1024;
/** Texts are read for so many events at a time: each event may have a megabyte of them. */
const textsPerRead = 64;
/** Sessions of one pod that are no further apart belong to one run of its agent: model, tool and database take turns. */
const joinGapMs = 60_000;
/** Rounds in which a recording may grow by sessions that touch those found so far. */
const maxJoinRounds = 16;

export interface EventQuery {
  readonly namespace?: string;
  readonly session?: string;
  readonly verdict?: string;
  readonly type?: string;
  /** `namespace/name`, or a bare name. */
  readonly connection?: string;
  /** Service account or pod. */
  readonly subject?: string;
  readonly chain?: string;
  readonly policy?: string;
  readonly rule?: string;
  /** Part of a recorded text, or of the event itself. */
  readonly text?: string;
  readonly limit: number;
  /** Only events after this cursor, oldest first: how one follows. */
  readonly after?: number;
}

export interface EventPage {
  /** Oldest first. A pruned event has an empty body. */
  readonly events: readonly StoredEvent[];
  /** Give it as `after` to go on. */
  readonly cursor: number;
}

export interface SessionSummary {
  readonly id: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly pod: string;
  readonly podUid: string;
  readonly chain?: string;
  readonly connection: string;
  readonly protocol: string;
  readonly started: string;
  readonly last: string;
  readonly ended: boolean;
  readonly operations: number;
  readonly denied: number;
  readonly held: number;
  readonly masked: number;
}

export interface SessionQuery {
  readonly namespace?: string;
  readonly limit: number;
}

export interface Recording {
  readonly events: readonly StoredEvent[];
  readonly contents: readonly ContentRecord[];
}

export interface Problem {
  readonly stream: string;
  readonly code: string;
  readonly expected: number;
  readonly message: string;
  readonly times: number;
  readonly firstAt: string;
  readonly lastAt: string;
}

export interface AuditReader {
  events(query: EventQuery, signal?: AbortSignal): Promise<EventPage>;
  /** The newest `limit` sessions, newest last. */
  sessions(query: SessionQuery, signal?: AbortSignal): Promise<readonly SessionSummary[]>;
  session(id: string, signal?: AbortSignal): Promise<SessionSummary | undefined>;
  /** One session, the newest when none is named; with `whole`, everything its pod did in the same run. */
  recording(id: string | undefined, whole: boolean, signal?: AbortSignal): Promise<Recording>;
  /** Batches that were refused because they did not link, newest first. */
  problems(signal?: AbortSignal): Promise<readonly Problem[]>;
  verify(stream?: string, signal?: AbortSignal): Promise<readonly StreamVerdict[]>;
  /** What is used of the budgets in the periods that run at this time. */
  budgets(now: number, signal?: AbortSignal): Promise<readonly BudgetRow[]>;
}

export function createAuditReader(db: AuditDatabase): AuditReader {
  const asked = <T>(signal: AbortSignal | undefined, answer: () => Promise<T>): Promise<T> =>
    signal?.aborted === true
      ? Promise.reject(new Error("nobody waits for the answer any more"))
      : answer();
  return {
    events: (query, signal) => asked(signal, () => listEvents(db, query)),
    sessions: (query, signal) => asked(signal, () => listSessions(db, query)),
    session: (id, signal) => asked(signal, () => getSession(db, id)),
    recording: (id, whole, signal) => asked(signal, () => readRecording(db, id, whole)),
    problems: (signal) => asked(signal, () => listProblems(db)),
    budgets: (now, signal) => asked(signal, () => readBudgets(db, now)),
    verify: (stream, signal) =>
      verifyStreams(db, {
        ...(stream === undefined ? {} : { stream }),
        ...(signal === undefined ? {} : { signal }),
      }),
  };
}

function eventRows(db: AuditDatabase) {
  return db
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
      "b.body",
    ]);
}

type EventRows = ReturnType<typeof eventRows>;

async function listEvents(db: AuditDatabase, query: EventQuery): Promise<EventPage> {
  const limit = Math.max(0, Math.min(query.limit, maxPageEvents));
  const matching = filtered(eventRows(db), query);
  if (query.after !== undefined) {
    const rows = await matching
      .where("h.id", ">", query.after)
      .orderBy("h.id", "asc")
      .limit(limit)
      .execute();
    return { events: rows.map(toEvent), cursor: Number(rows.at(-1)?.id ?? query.after) };
  }
  // The cursor first: what is committed meanwhile stands after it, and is neither skipped nor shown twice.
  const newest = await db
    .selectFrom("event_headers")
    .select((eb) => eb.fn.max("id").as("id"))
    .executeTakeFirst();
  const cursor = Number(newest?.id ?? 0);
  const rows = await matching
    .where("h.id", "<=", cursor)
    .orderBy("h.id", "desc")
    .limit(limit)
    .execute();
  return { events: rows.toReversed().map(toEvent), cursor };
}

function filtered(rows: EventRows, query: EventQuery): EventRows {
  let found = rows;
  if (query.type !== undefined) found = found.where("h.type", "=", query.type);
  for (const key of ["namespace", "session", "verdict", "chain", "policy", "rule"] as const) {
    const value = query[key];
    if (value !== undefined) found = found.where(`b.${key}`, "=", value);
  }
  const { connection, subject, text } = query;
  if (connection !== undefined)
    found = connection.includes("/")
      ? found.where("b.connection", "=", connection)
      : found.where(sql<boolean>`b.connection like ${`%/${likeLiteral(connection)}`} escape '\\'`);
  if (subject !== undefined)
    found = found.where((eb) =>
      eb.or([eb("b.service_account", "=", subject), eb("b.pod", "=", subject)]),
    );
  return text === undefined ? found : containing(found, text);
}

/** Bodies and texts stand as JSON, so the part that is looked for is escaped the same way. */
function containing(rows: EventRows, text: string): EventRows {
  const pattern = `%${likeLiteral(encodeText(text).slice(1, -1))}%`;
  return rows.where((eb) =>
    eb.or([
      sql<boolean>`lower(b.body) like lower(${pattern}) escape '\\'`,
      eb.exists(
        eb
          .selectFrom("contents as c")
          .select("c.event_id")
          .whereRef("c.event_id", "=", "h.id")
          .where(sql<boolean>`lower(c.text) like lower(${pattern}) escape '\\'`),
      ),
    ]),
  );
}

function likeLiteral(text: string): string {
  return text.replaceAll(/[\\%_]/g, "\\$&");
}

async function listSessions(
  db: AuditDatabase,
  { namespace, limit }: SessionQuery,
): Promise<readonly SessionSummary[]> {
  let rows = db.selectFrom("sessions").selectAll();
  if (namespace !== undefined) rows = rows.where("namespace", "=", namespace);
  const newestFirst = await rows
    .orderBy("last_at", "desc")
    .orderBy("id", "desc")
    .limit(Math.max(0, Math.min(limit, maxListedSessions)))
    .execute();
  return newestFirst.toReversed().map(toSession);
}

async function getSession(db: AuditDatabase, id: string): Promise<SessionSummary | undefined> {
  const row = await db.selectFrom("sessions").selectAll().where("id", "=", id).executeTakeFirst();
  return row === undefined ? undefined : toSession(row);
}

function toSession(row: SessionTable): SessionSummary {
  return {
    id: row.id,
    namespace: row.namespace,
    serviceAccount: row.service_account,
    pod: row.pod,
    podUid: row.pod_uid,
    ...(row.chain === null ? {} : { chain: row.chain }),
    connection: row.connection,
    protocol: row.protocol,
    started: row.started_at,
    last: row.last_at,
    ended: Number(row.ended) === 1,
    operations: Number(row.operations),
    denied: Number(row.denied),
    held: Number(row.held),
    masked: Number(row.masked),
  };
}

async function readRecording(
  db: AuditDatabase,
  id: string | undefined,
  whole: boolean,
): Promise<Recording> {
  const session =
    id === undefined ? (await listSessions(db, { limit: 1 }))[0] : await getSession(db, id);
  if (session === undefined) return { events: [], contents: [] };
  const rows = await (
    whole ? await ofRun(db, session) : eventRows(db).where("b.session", "=", session.id)
  )
    .orderBy("h.id", "asc")
    .limit(maxRecordingEvents)
    .execute();
  return { events: rows.map(toEvent), contents: await readContents(db, rows) };
}

/** Everything the session's pod did, with or without a session, as long as one thing followed another. */
async function ofRun(db: AuditDatabase, session: SessionSummary): Promise<EventRows> {
  let from = session.started;
  let to = session.last;
  for (let round = 0; round < maxJoinRounds; round += 1) {
    const reach = await db
      .selectFrom("sessions")
      .select((eb) => [eb.fn.min("started_at").as("from"), eb.fn.max("last_at").as("to")])
      .where("pod_uid", "=", session.podUid)
      .where("started_at", "<=", shifted(to, joinGapMs))
      .where("last_at", ">=", shifted(from, -joinGapMs))
      .executeTakeFirst();
    if (reach === undefined || (reach.from >= from && reach.to <= to)) break;
    from = reach.from < from ? reach.from : from;
    to = reach.to > to ? reach.to : to;
  }
  return eventRows(db)
    .where("b.pod_uid", "=", session.podUid)
    .where("h.time", ">=", from)
    .where("h.time", "<=", to);
}

function shifted(time: string, ms: number): string {
  return new Date(Date.parse(time) + ms).toISOString();
}

async function readContents(
  db: AuditDatabase,
  rows: readonly EventRow[],
): Promise<readonly ContentRecord[]> {
  const contents: ContentRecord[] = [];
  const seqById = new Map(rows.map((row) => [Number(row.id), Number(row.seq)]));
  const ids = [...seqById.keys()];
  let bytes = 0;
  for (let from = 0; from < ids.length && bytes < maxRecordingTextBytes; from += textsPerRead) {
    const some = await db
      .selectFrom("contents")
      .selectAll()
      .where("event_id", "in", ids.slice(from, from + textsPerRead))
      .orderBy("event_id")
      .orderBy("position")
      .execute();
    for (const row of some) {
      bytes += row.text.length;
      contents.push({
        session: row.session,
        seq: seqById.get(Number(row.event_id)) ?? 0,
        part: row.part as ContentRef["part"],
        sha256: row.sha256,
        text: readableText(row.text),
      });
    }
  }
  return contents;
}

/** Like an unreadable body: it must not hide the texts around it. */
function readableText(stored: string): string {
  try {
    return decodeText(stored);
  } catch {
    return "(this text is unreadable; see: chaperone audit verify)";
  }
}

async function listProblems(db: AuditDatabase): Promise<readonly Problem[]> {
  const rows = await db
    .selectFrom("problems")
    .selectAll()
    .orderBy("last_at", "desc")
    .limit(maxPageEvents)
    .execute();
  return rows.map((row) => ({
    stream: row.stream,
    code: row.code,
    expected: Number(row.expected),
    message: row.message,
    times: Number(row.times),
    firstAt: row.first_at,
    lastAt: row.last_at,
  }));
}
