// What is known of MCP sessions: which requests wait for an answer, what servers asked that was let through, where the older transport
// takes messages. A server keeps the session itself; what is forgotten here is refused, not guessed.
import { ByteBudget } from "../byte-budget.ts";
import { randomUUID } from "node:crypto";

import type { Pending } from "../../../policy/mcp/answer.ts";
import type { MessageId } from "../../../policy/mcp/message.ts";
import type { Gate } from "../../pipeline.ts";

/** Sessions of a pod; the one that was used longest ago is forgotten first. */
const maxSessions = 1_024;
/** Requests of one session that wait for an answer on another stream than their own. */
const maxPending = 256;
/** What all those requests hold together, counted by the bodies they came in. */
const maxPendingBytes = 16 * 1024 * 1024;
/** Requests of a server that a client has not answered. */
const maxAsked = 64;

export class McpSession {
  readonly #pending = new Map<MessageId, { readonly pending: Pending; readonly bytes: number }>();
  readonly #asked = new Map<MessageId, string>();
  readonly #budget: ByteBudget;

  constructor(budget: ByteBudget) {
    this.#budget = budget;
  }

  pending(id: MessageId): Pending | undefined {
    return this.#pending.get(id)?.pending;
  }

  /** A request went out whose answer may come on another stream. */
  await(pending: Pending, bytes: number): void {
    this.settle(pending.id);
    const oldest = this.#pending.keys().next();
    if (this.#pending.size >= maxPending && oldest.done !== true) this.settle(oldest.value);
    if (!this.#budget.take(bytes)) return;
    this.#pending.set(pending.id, { pending, bytes });
  }

  settle(id: MessageId): void {
    const known = this.#pending.get(id);
    if (known === undefined) return;
    this.#pending.delete(id);
    this.#budget.give(known.bytes);
  }

  /** The server asked this, and the agent gets to see it. */
  ask(id: MessageId, method: string): void {
    const oldest = this.#asked.keys().next();
    if (this.#asked.size >= maxAsked && oldest.done !== true) this.#asked.delete(oldest.value);
    this.#asked.set(id, method);
  }

  asked(id: MessageId): string | undefined {
    return this.#asked.get(id);
  }

  answered(id: MessageId): void {
    this.#asked.delete(id);
  }

  forget(): void {
    for (const id of this.#pending.keys()) this.settle(id);
    this.#asked.clear();
  }
}

/** Where the older transport's stream (2024-11-05, HTTP with SSE) takes messages, for as long as it is open. */
export interface MessagePlace {
  readonly gate: Gate;
  readonly session: McpSession;
  /** Path and query at the upstream. */
  readonly target: string;
  /** Says something on the stream, in the place of the server. */
  readonly say: (message: string) => void;
}

export class McpSessions {
  readonly #budget = new ByteBudget(maxPendingBytes);
  readonly #byGate = new WeakMap<Gate, Map<string, McpSession>>();
  readonly #places = new Map<string, MessagePlace>();

  /** @param id of the `Mcp-Session-Id` header; undefined: what clients without one have in common */
  of(gate: Gate, id: string | undefined): McpSession {
    let sessions = this.#byGate.get(gate);
    if (sessions === undefined) this.#byGate.set(gate, (sessions = new Map()));
    const key = id ?? "";
    const session = sessions.get(key) ?? new McpSession(this.#budget);
    sessions.delete(key);
    sessions.set(key, session);
    const oldest = sessions.keys().next();
    if (sessions.size > maxSessions && oldest.done !== true) this.end(gate, oldest.value);
    return session;
  }

  end(gate: Gate, id: string): void {
    const sessions = this.#byGate.get(gate);
    sessions?.get(id)?.forget();
    sessions?.delete(id);
  }

  /** One that is kept with its stream alone. */
  alone(): McpSession {
    return new McpSession(this.#budget);
  }

  /** The name under which messages for this stream are taken from now on. */
  open(place: MessagePlace): string {
    const token = randomUUID();
    this.#places.set(token, place);
    return token;
  }

  place(gate: Gate, token: string): MessagePlace | undefined {
    const place = this.#places.get(token);
    return place?.gate === gate ? place : undefined;
  }

  close(token: string): void {
    this.#places.get(token)?.session.forget();
    this.#places.delete(token);
  }
}
