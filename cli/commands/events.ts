// `events`: audit events, newest last; with --follow the new ones as they are committed.
import { flattenEvent } from "../../contract/chain.ts";
import { eventLine } from "../../operator/audit/format.ts";
import { maxPageEvents } from "../../operator/audit/queries.ts";
import type { Backend, EventPage, EventQuery } from "../backend.ts";

interface EventsOptions {
  readonly follow?: boolean;
  readonly session?: string;
  readonly verdict?: string;
  readonly type?: string;
  readonly connection?: string;
  readonly limit: number;
  readonly output: string;
}

/** How often --follow asks for more. */
const followIntervalMs = 250;

export async function events(backend: Backend, options: EventsOptions): Promise<void> {
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort());
  process.once("SIGTERM", () => stop.abort());
  process.stdout.on("error", () => stop.abort());
  try {
    const query: EventQuery = {
      limit: options.limit,
      ...(options.session === undefined ? {} : { session: options.session }),
      ...(options.verdict === undefined ? {} : { verdict: options.verdict }),
      ...(options.type === undefined ? {} : { type: options.type }),
      ...(options.connection === undefined ? {} : { connection: options.connection }),
    };
    let { events: page, cursor } = await newest(backend, query);
    const write = () => {
      for (const event of page)
        process.stdout.write(
          (options.output === "json" ? JSON.stringify(flattenEvent(event)) : eventLine(event)) +
            "\n",
        );
    };
    write();
    while (options.follow === true && !stop.signal.aborted) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, followIntervalMs);
        stop.signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), {
          once: true,
        });
      });
      if (stop.signal.aborted) break;
      ({ events: page, cursor } = await backend.events({ ...query, after: cursor }));
      write();
    }
  } finally {
    await backend.close();
  }
}

/** The store gives a page at a time: more than that is read from the oldest on, and the newest of it kept. */
async function newest(backend: Backend, query: EventQuery): Promise<EventPage> {
  const first = await backend.events(query);
  if (query.limit <= first.events.length || first.events.length < maxPageEvents) return first;
  let kept: EventPage["events"] = [];
  for (let after = 0; ;) {
    const { events: page, cursor } = await backend.events({
      ...query,
      limit: maxPageEvents,
      after,
    });
    kept = [...kept, ...page].slice(-query.limit);
    after = cursor;
    if (page.length < maxPageEvents) return { events: kept, cursor };
  }
}
