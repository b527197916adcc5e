// What a batch of events adds to the sessions they belong to. Pure: rows in, rows out.
import type { EventBody, StoredEvent } from "../../contract/event.ts";
import { column, type SessionTable } from "./schema.ts";

/** Sums up the events of one batch, session by session; the store adds them to what it has. */
export function foldSessions(events: readonly StoredEvent[]): readonly SessionTable[] {
  const sessions = new Map<string, SessionTable>();
  for (const event of events) {
    const id = column(event.body.session);
    if (id === null) continue;
    let session = sessions.get(id);
    if (session === undefined) {
      session = emptySession(id, event);
      sessions.set(id, session);
    }
    addEvent(session, event);
  }
  return [...sessions.values()];
}

/** `namespace/name`. */
export function connectionName({ connection }: EventBody): string | undefined {
  return connection === undefined ? undefined : `${connection.namespace}/${connection.name}`;
}

function emptySession(id: string, { header, body }: StoredEvent): SessionTable {
  const { subject, connection } = body;
  return {
    id,
    namespace: column(subject?.namespace) ?? "",
    service_account: column(subject?.serviceAccount) ?? "",
    pod: column(subject?.pod) ?? "",
    pod_uid: column(subject?.podUid) ?? "",
    chain: null,
    connection: column(connectionName(body)) ?? "",
    protocol: column(connection?.protocol) ?? "",
    started_at: header.time,
    last_at: header.time,
    ended: 0,
    operations: 0,
    denied: 0,
    held: 0,
    masked: 0,
  };
}

/** Changes the session in place: this runs for every event. */
function addEvent(session: SessionTable, { header, body }: StoredEvent): void {
  const { subject, decision, outcome } = body;
  session.chain = column(subject?.chain) ?? session.chain;
  if (header.time > session.last_at) session.last_at = header.time;
  if (header.type === "session-end") session.ended = 1;
  if (header.type !== "operation") return;
  session.operations += 1;
  if (outcome?.status === "denied" || decision?.verdict === "deny") session.denied += 1;
  if (decision?.verdict === "hold") session.held += 1;
  if (isMasked(outcome?.masked)) session.masked += 1;
}

function isMasked(
  masked:
    | { readonly columns?: readonly string[]; readonly detected?: Readonly<Record<string, number>> }
    | undefined,
): boolean {
  return (
    masked !== undefined &&
    ((masked.columns?.length ?? 0) > 0 || Object.keys(masked.detected ?? {}).length > 0)
  );
}
