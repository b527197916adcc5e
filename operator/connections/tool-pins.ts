// The tools of MCP servers as they were first seen: a change of one is a change of what models are told to do with it.
import { maxPinnedTools } from "../../contract/control.ts";
import type { SeenTools, ToolPin } from "../../contract/control.ts";
import type { EventBody, EventSubject, EventType } from "../../contract/event.ts";
import type { PinStore } from "../resources.ts";

export interface ToolPinsOptions {
  readonly store: PinStore;
  readonly record: (type: EventType, body: EventBody) => void;
  readonly isLocal: boolean;
}

export class ToolPins {
  readonly #options: ToolPinsOptions;
  /** Writers of this replica wait for each other; those of another meet in the object itself. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: ToolPinsOptions) {
    this.#options = options;
  }

  /** What stands once these were seen; each new or other pin is an event. */
  async see(
    subject: EventSubject,
    { connection, seen, changed }: SeenTools,
    signal: AbortSignal,
  ): Promise<readonly ToolPin[]> {
    const mine = this.#turn.then(
      () => this.#see(subject, connection, seen, changed, signal),
      () => this.#see(subject, connection, seen, changed, signal),
    );
    this.#turn = mine;
    return mine;
  }

  async #see(
    subject: EventSubject,
    connection: string,
    seen: readonly ToolPin[],
    changed: readonly ToolPin[],
    signal: AbortSignal,
  ): Promise<readonly ToolPin[]> {
    signal.throwIfAborted();
    const { store } = this.#options;
    const before = await store.read(connection);
    const pins = new Map(before.map(({ name, digest }) => [name, digest]));
    const news: ToolPin[] = [];
    for (const tool of [...seen.filter(({ name }) => !pins.has(name)), ...changed]) {
      const isNew = !pins.has(tool.name);
      if (pins.get(tool.name) === tool.digest || (isNew && pins.size >= maxPinnedTools)) continue;
      pins.set(tool.name, tool.digest);
      news.push(tool);
    }
    const tools = [...pins].map(([name, digest]) => ({ name, digest }));
    if (news.length === 0) return tools;
    await store.write(connection, tools, signal);
    for (const tool of news) this.#tell(subject, connection, tool, before);
    return tools;
  }

  #tell(
    subject: EventSubject,
    connection: string,
    { name, digest }: ToolPin,
    before: readonly ToolPin[],
  ): void {
    const [namespace = "", own = ""] = connection.split("/");
    const previous = before.find((one) => one.name === name)?.digest;
    this.#options.record("tool-pinned", {
      subject,
      connection: { namespace, name: own, protocol: "mcp" },
      operation: {
        kind: "mcp",
        summary: previous === undefined ? `tool ${name}, first seen,` : `tool ${name} changed and`,
        facts: { tool: name, digest, ...(previous !== undefined && { previous }) },
      },
      ...(this.#options.isLocal ? { assurance: "local" } : {}),
    });
  }
}
