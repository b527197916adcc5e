// Whether a tool is what it was when it was first seen. What is pinned stands at the operator; here is a copy, and what was seen to differ.
import { maxPinnedTools } from "../../../contract/control.ts";
import type { Endpoint, ToolPin } from "../../../contract/control.ts";
import { toolChanged } from "../../../policy/mcp/methods.ts";
import { toolDigest } from "../../../policy/mcp/pin.ts";
import { operationOf } from "../../../policy/mcp/recognise.ts";
import type { JsonObject, McpAccess, McpOperation } from "../../../policy/operation.ts";
import type { Gate, GateSession } from "../../pipeline.ts";

/** A copy that is older is fetched anew before a list is shown: another proxy may have learned more. */
const maxAgeMs = 60_000;
/** The operator answers within seconds or not at all. */
const reportTimeoutMs = 10_000;
/** Of a name that can be pinned (operator/api/routes/tools.ts). */
const maxName = 256;

/** A tool that is another than the one that is pinned. */
export interface ChangedTool {
  readonly name: string;
  readonly digest: string;
  readonly previous: string;
  /** As the server describes it now. */
  readonly tool: JsonObject;
}

/** Who sees a list, and so sees a change. */
export interface PinContext {
  readonly gate: Gate;
  readonly session: GateSession;
  readonly operation: McpOperation;
}

interface Known {
  pins: Map<string, string>;
  loadedAt: number;
  readonly changed: Map<string, ChangedTool>;
  /** Not told yet: what one list shows is told at once. */
  news: { readonly seen: ToolPin[]; readonly changed: ToolPin[] } | undefined;
  /** Changes that a person is asked about, or that no rule lets anyone be asked about. */
  readonly asked: Set<string>;
}

export class ToolPins {
  readonly #byGate = new WeakMap<Gate, Known>();

  /** Before a list is judged. Throws ProxyError where the operator cannot be asked. */
  async load(gate: Gate, signal: AbortSignal): Promise<void> {
    const known = this.#of(gate);
    if (performance.now() - known.loadedAt < maxAgeMs) return;
    this.#take(known, await gate.pinTools({ seen: [], changed: [] }, signal));
  }

  /** True for a tool that is known as it is, which every tool is that was never seen. */
  isPinned(context: PinContext, tool: JsonObject): boolean {
    const { gate } = context;
    const { name } = tool;
    if (typeof name !== "string" || name === "" || name.length > maxName) return false;
    const known = this.#of(gate);
    const digest = toolDigest(tool);
    const previous = known.pins.get(name);
    if (previous === digest) {
      known.changed.delete(name);
      return true;
    }
    const isNew = previous === undefined;
    if (isNew && known.pins.size >= maxPinnedTools) return false;
    if (isNew || gate.current()?.endpoint.toolChanges === "Allow") {
      known.pins.set(name, digest);
      known.changed.delete(name);
      this.#report(gate, { name, digest }, isNew);
      return true;
    }
    const change = { name, digest, previous, tool };
    known.changed.set(name, change);
    if (gate.current()?.endpoint.toolChanges !== "Deny") this.#ask(context, change);
    return false;
  }

  changed(gate: Gate, name: string): ChangedTool | undefined {
    return this.#of(gate).changed.get(name);
  }

  /** A person, or a rule, let it change. Throws ProxyError where that cannot be kept. */
  async accept(gate: Gate, { name, digest }: ChangedTool, signal: AbortSignal): Promise<void> {
    const known = this.#of(gate);
    this.#take(known, await gate.pinTools({ seen: [], changed: [{ name, digest }] }, signal));
    if (known.pins.get(name) === digest) known.changed.delete(name);
  }

  #of(gate: Gate): Known {
    let known = this.#byGate.get(gate);
    if (known === undefined) {
      known = {
        pins: new Map(),
        loadedAt: -maxAgeMs,
        changed: new Map(),
        news: undefined,
        asked: new Set(),
      };
      this.#byGate.set(gate, known);
    }
    return known;
  }

  #take(known: Known, tools: readonly ToolPin[]): void {
    known.pins = new Map(tools.map(({ name, digest }) => [name, digest]));
    known.loadedAt = performance.now();
  }

  #report(gate: Gate, tool: ToolPin, isNew: boolean): void {
    const known = this.#of(gate);
    if (known.news === undefined) {
      known.news = { seen: [], changed: [] };
      queueMicrotask(() => this.#tell(gate, known));
    }
    (isNew ? known.news.seen : known.news.changed).push(tool);
  }

  /** What stands already wins: of two that saw it first in two ways, one sees a change from then on. */
  #tell(gate: Gate, known: Known): void {
    const { news } = known;
    known.news = undefined;
    if (news === undefined) return;
    gate.pinTools(news, AbortSignal.timeout(reportTimeoutMs)).then(
      (answer) => {
        // What was seen meanwhile stays.
        for (const { name, digest } of answer) known.pins.set(name, digest);
      },
      // Not kept: it is fetched, and told again, before the next list.
      () => (known.loadedAt = -maxAgeMs),
    );
  }

  /** Once for each change: a person hears of it when it is seen, not when an agent insists. */
  #ask({ gate, session, operation }: PinContext, change: ChangedTool): void {
    const { asked } = this.#of(gate);
    const key = `${change.name} ${change.digest}`;
    if (asked.has(key) || asked.size >= maxPinnedTools) return;
    asked.add(key);
    const own = operationOf({ facts: operation.http }, [accessOf(change)], operation.facts.version);
    void Promise.resolve(
      session.pass(own, {
        exact: () => `${toolChanged} ${key}`,
        content: () => ({ part: "request", text: JSON.stringify(change) }),
        signal: session.ended,
      }),
    )
      .then(async (passage) => {
        if (passage.go) {
          await this.accept(gate, change, AbortSignal.timeout(reportTimeoutMs));
          passage.done({ status: "ok" });
        }
        // The next list asks again where a person has not answered yet.
        if (passage.go || passage.decision?.verdict === "hold") asked.delete(key);
      })
      .catch(() => asked.delete(key));
  }
}

function accessOf({ name, digest, previous }: ChangedTool): McpAccess {
  return { kind: "mcp", method: toolChanged, tool: name, arguments: { digest, previous } };
}

/** The change of the tool that this operation calls. */
export function changedIn(
  { facts }: McpOperation,
  pins: ToolPins,
  gate: Gate,
): ChangedTool | undefined {
  return facts.method === "tools/call" ? pins.changed(gate, facts.tool) : undefined;
}

/** A call of a tool that changed is the use of a changed tool as well, which is an access of its own. */
export function withChange(
  operation: McpOperation,
  change: ChangedTool | undefined,
  toolChanges: Endpoint["toolChanges"],
): McpOperation {
  if (change === undefined) return operation;
  const accesses = [...operation.accesses, accessOf(change)];
  return toolChanges === "Deny"
    ? {
        ...operation,
        accesses,
        unrecognised: `the tool ${change.name} is no longer what it was when it was first seen (mcp.toolChanges: Deny)`,
      }
    : { ...operation, accesses };
}
