// `events`: audit events, newest last; with --follow the new ones as they are committed.
import { flattenEvent } from "../../contract/chain.ts";
import { eventLine } from "../../operator/audit/format.ts";
import type { Backend, EventQuery } from "../backend.ts";

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
    let { events: page, cursor } = await backend.events(query);
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
