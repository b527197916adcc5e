// `sessions list | show | replay`: what was recorded, session by session.
import { flattenEvent } from "../../contract/chain.ts";
import { eventLine } from "../../operator/audit/format.ts";
import { play, replay } from "../../operator/audit/replay.ts";
import type { Backend } from "../backend.ts";
import { Failure } from "../exit.ts";
import { json, table } from "../output.ts";

export async function list(
  backend: Backend,
  options: { output: string; limit: number },
): Promise<void> {
  try {
    const rows = await backend.sessions(options.limit);
    if (options.output === "json") process.stdout.write(json(rows));
    else if (rows.length === 0) process.stderr.write("nothing was recorded yet\n");
    else {
      process.stdout.write(
        table(
          [
            "SESSION",
            "STARTED",
            "SUBJECT",
            "CHAIN",
            "CONNECTION",
            "OPERATIONS",
            "DENIED",
            "HELD",
            "MASKED",
          ],
          rows.map((row) => [
            row.id,
            row.started,
            `${row.namespace}/${row.serviceAccount} (${row.pod})`,
            row.chain ?? "",
            row.connection,
            String(row.operations),
            String(row.denied),
            String(row.held),
            String(row.masked),
          ]),
        ),
      );
    }
  } finally {
    await backend.close();
  }
}

export async function show(
  backend: Backend,
  id: string,
  options: { output: string },
): Promise<void> {
  try {
    const { events } = await backend.recording(id, false);
    if (events.length === 0)
      throw new Failure(`no session ${id} was recorded; see: chaperone sessions list`);
    if (options.output === "json")
      process.stdout.write(json(events.map((event) => flattenEvent(event))));
    else for (const event of events) process.stdout.write(eventLine(event) + "\n");
  } finally {
    await backend.close();
  }
}

export async function replaySession(
  backend: Backend,
  id: string | undefined,
  options: { speed: number; wait: boolean; only?: boolean },
): Promise<void> {
  try {
    const { events, contents } = await backend.recording(id, options.only !== true);
    if (events.length === 0)
      throw new Failure(
        id === undefined
          ? "nothing was recorded yet"
          : `no session ${id} was recorded; see: chaperone sessions list`,
      );
    const stop = new AbortController();
    process.once("SIGINT", () => stop.abort());
    await play(replay(events, contents), {
      speed: options.speed,
      wait: options.wait,
      color: process.stdout.isTTY === true && process.env.NO_COLOR === undefined,
      width: process.stdout.columns ?? 120,
      write: (text) => void process.stdout.write(text),
      signal: stop.signal,
    });
  } finally {
    await backend.close();
  }
}
