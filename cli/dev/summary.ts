// What `chaperone run` says at the end: how much was allowed, masked, held and denied, read from the store like everybody reads it.
import { openReader } from "../../operator/audit/reader.ts";
import { statePaths } from "./state.ts";

/** One run rarely does more; a longer one is counted up to here and says so. */
const maxCounted = 100_000;

export async function summary(state: string, since: string): Promise<string> {
  const paths = statePaths(state);
  const reader = await openReader(paths.store);
  try {
    const sessions = (
      await reader.sessions({ limit: maxCounted }, AbortSignal.timeout(10_000))
    ).filter(({ started }) => started >= since);
    const sum = (of: (session: (typeof sessions)[number]) => number): number =>
      sessions.reduce((total, session) => total + of(session), 0);
    const operations = sum(({ operations: count }) => count);
    const denied = sum((session) => session.denied);
    const held = sum((session) => session.held);
    const allowed = operations - denied - held;
    return `chaperone: ${sessions.length} sessions, ${operations} operations: ${allowed} allowed (${sum((session) => session.masked)} masked), ${held} held, ${denied} denied; see: chaperone sessions replay --state ${state}\n`;
  } finally {
    await reader.close();
  }
}
