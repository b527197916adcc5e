// What a batch of events adds to the sessions they belong to. Pure: rows in, rows out.
import type { StoredEvent } from "../../contract/event.ts";
import { column, type SessionTable } from "./schema.ts";

/** Sums up the events of one batch, session by session; the store adds them to what it has. */
export function foldSessions(events: readonly StoredEvent[]): readonly SessionTable[] {
  const sessions = new Map<string, SessionTable>();
  for (const event of events) {
    const id = column(event.body.session);
    if (id === null) continue;
    sessions.set(id, addEvent(sessions.get(id) ?? emptySession(id, event), event));
  }
  return [...sessions.values()];
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
    connection:
      connection === undefined ? "" : (column(`${connection.namespace}/${connection.name}`) ?? ""),
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

function addEvent(session: SessionTable, { header, body }: StoredEvent): SessionTable {
  const isOperation = header.type === "operation";
  const { decision, outcome } = body;
  const one = (condition: boolean): number => (isOperation && condition ? 1 : 0);
  const chain = column(body.subject?.chain) ?? session.chain;
  return {
    ...session,
    chain,
    last_at: header.time > session.last_at ? header.time : session.last_at,
    ended: header.type === "session-end" ? 1 : session.ended,
    operations: session.operations + one(true),
    denied: session.denied + one(outcome?.status === "denied" || decision?.verdict === "deny"),
    held: session.held + one(decision?.verdict === "hold"),
    masked: session.masked + one(isMasked(outcome?.masked)),
  };
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
