// What stands between an MCP server's answer and the agent: a JSON message, or a stream of events of which each is one.
import { EventSplitter, writeEvent } from "../../../policy/mcp/events.ts";
import type { EventReader, ServerEvent } from "../../../policy/mcp/events.ts";
import type { Message } from "../../../policy/mcp/message.ts";
import { rpcCodes } from "../../../policy/mcp/message.ts";
import type { Refused } from "../../../policy/mcp/refusal.ts";
import type { Counts } from "../../../policy/mask/stream.ts";
import { ProxyError } from "../../errors.ts";
import type { Passage } from "../../pipeline.ts";
import type { Exchange } from "../exchange.ts";
import { answerMask, untrue } from "../mask-answer.ts";
import type { AnswerGuard, AnswerMask } from "../mask-answer.ts";
import { McpJudge, NotSpoken } from "./judge.ts";
import type { JudgeContext } from "./judge.ts";
import type { Replies } from "./reply.ts";

type Headers = Readonly<Record<string, string | string[] | undefined>>;

export interface GuardContext extends JudgeContext {
  readonly exchange: Exchange;
  readonly replies: Replies;
  /** The session that an answer to the handshake names. */
  readonly named: (session: string) => void;
  /** The older transport's first event says where messages go; what the agent is told instead. Throws ProxyError. */
  readonly endpoint: ((data: string) => string) | undefined;
  /** A message or a stream has to come with this answer. */
  readonly isAwaited: boolean;
  /** Where the older transport takes messages, once that was said. */
  readonly target: () => string | undefined;
}

/** Requests of a server that are being decided on: a client has few questions open, and a flood of them is none. */
const maxAsking = 32;

/** Of one message; results of tools run to a few megabytes with pictures in them. */
const maxMessageLength = 4 * 1024 * 1024;

/** plain: what went wrong, as any server says it; none: nothing is said that the agent has to read. */
type Mode = "none" | "json" | "events" | "plain";

const nothing = Buffer.alloc(0);

export class McpGuard implements AnswerGuard, EventReader {
  readonly #context: GuardContext;
  readonly #judge: McpJudge;
  readonly #events = new EventSplitter(this, maxMessageLength);
  #mode: Mode = "none";
  #plain: AnswerMask | undefined;
  #chunks: Buffer[] = [];
  #length = 0;
  #shown = "";
  #isOver = false;
  #asking = 0;

  constructor(context: GuardContext) {
    this.#context = context;
    this.#judge = new McpJudge(context);
  }

  get counts(): Counts {
    return this.#plain?.counts ?? this.#judge.counts;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  begin(status: number, headers: Headers): Headers {
    this.#learn(status, headers);
    this.#mode = modeOf(status, headers);
    if (this.#mode === "plain") this.#plain = this.#masker();
    if (this.#plain !== undefined) return this.#plain.begin(status, headers);
    const isRead = this.#mode !== "plain";
    if (this.#mode === "none" && this.#context.isAwaited)
      throw notSpoken("its answer is neither JSON nor a stream of events");
    if (isRead && (headers["content-encoding"] ?? "identity") !== "identity")
      throw notSpoken("the server encoded its answer, although it was asked not to");
    const kept = Object.entries(headers).filter(([name]) => !(isRead && untrue.has(name)));
    const isAlien = this.#context.generation === "sessionless";
    return Object.fromEntries(kept.filter(([name]) => !(isAlien && name === "mcp-session-id")));
  }

  headers(headers: Headers): Headers {
    return headers;
  }

  data(chunk: Buffer): Buffer {
    switch (this.#mode) {
      case "plain":
        return this.#plain?.data(chunk) ?? chunk;
      case "none":
        // A courtesy such as `Accepted`.
        return nothing;
      case "json":
        this.#length += chunk.length;
        if (this.#length > maxMessageLength) return this.#tooLong();
        this.#chunks.push(Buffer.from(chunk));
        return nothing;
      case "events":
        said(() => this.#events.push(chunk));
        return this.#taken();
      default:
        return this.#mode satisfies never;
    }
  }

  end(): Buffer {
    if (this.#plain !== undefined) return this.#plain.end();
    if (this.#mode !== "json" || this.#isOver) return nothing;
    const text = Buffer.concat(this.#chunks).toString("utf8");
    this.#chunks = [];
    if (text === "") return nothing;
    const heard = said(() => this.#judge.hear(text));
    if ("asked" in heard) throw notSpoken("the server asks where it has to answer");
    return Buffer.from(heard.text ?? "");
  }

  event(event: ServerEvent): void {
    if (this.#isOver) return;
    const { endpoint, asking, operation } = this.#context;
    if (event.name === "endpoint" && endpoint !== undefined) {
      this.#shown += writeEvent(event, endpoint(event.data));
      return;
    }
    if (event.name !== undefined && event.name !== "message") return;
    if (event.data === "") {
      this.#shown += writeEvent(event, "");
      return;
    }
    // A stream goes on as long as the rules let it.
    if (asking === undefined && this.#judge.refusal(operation) !== undefined) {
      this.#isOver = true;
      return;
    }
    const heard = this.#judge.hear(event.data);
    const text = "asked" in heard ? this.#asked(event, heard.asked) : heard.text;
    // What is left out keeps its place: a client that resumes names the last event it saw.
    this.#shown += text === undefined ? place(event) : writeEvent(event, text);
  }

  comment(): void {
    this.#shown += ":\n\n";
  }

  tooLong(): void {
    this.#shown += this.#tooLong().toString("utf8");
  }

  #tooLong(): Buffer {
    this.#isOver = true;
    this.#chunks = [];
    const refused: Refused = {
      code: 429,
      message: `the server's message is longer than ${maxMessageLength} bytes, which is more than is read here`,
      data: { code: "LimitExceeded" },
    };
    const text = this.#judge.instead(refused);
    if (text === undefined) throw new ProxyError("LimitExceeded", refused.message);
    return Buffer.from(this.#mode === "events" ? writeEvent(unnamed, text) : text);
  }

  #taken(): Buffer {
    const shown = this.#shown;
    this.#shown = "";
    return shown === "" ? nothing : Buffer.from(shown);
  }

  /** A request of the server: at once where nothing has to be waited for, else said later or answered in the agent's place. */
  #asked(event: ServerEvent, asked: Extract<Message, { kind: "request" }>): string | undefined {
    const { session, exchange, signal } = this.#context;
    if (asked.method === "ping") return this.#judge.let(event.data, asked);
    const operation = this.#judge.asked(asked.method);
    const passing = session.pass(operation, {
      exact: () => `server ${asked.method}`,
      content: () => ({ part: "request", text: JSON.stringify(asked.params) }),
      signal: signal(),
    });
    if (!(passing instanceof Promise)) return this.#admitted(event, asked, passing);
    if (++this.#asking > maxAsking)
      throw notSpoken(`it asks more than ${maxAsking} things of the agent at once`);
    void passing
      .finally(() => (this.#asking -= 1))
      .then(
        (passage) => {
          const text = said(() => this.#admitted(event, asked, passage));
          if (text !== undefined)
            exchange.interject(Buffer.from(writeEvent({ ...event, id: undefined }, text)));
        },
        () =>
          this.#refuse(asked, { code: rpcCodes.internal, message: "it could not be decided on" }),
      );
    return undefined;
  }

  #admitted(
    event: ServerEvent,
    asked: Extract<Message, { kind: "request" }>,
    passage: Passage,
  ): string | undefined {
    if (!passage.go) {
      this.#refuse(asked, { code: rpcCodes.methodNotFound, message: passage.error.message });
      return undefined;
    }
    passage.done({ status: "ok" });
    return this.#judge.let(event.data, asked);
  }

  #refuse(asked: Extract<Message, { kind: "request" }>, refused: Refused): void {
    this.#context.replies.refuse(asked.id, refused, this.#context.target());
  }

  #learn(status: number, headers: Headers): void {
    const session = headers["mcp-session-id"];
    const { asking, generation, named } = this.#context;
    if (status !== 200 || generation !== "session" || typeof session !== "string") return;
    if (asking?.method === "initialize") named(session);
  }

  /** Of an answer that is no message of the protocol: a page that says what went wrong. */
  #masker(): AnswerMask | undefined {
    const { gate, session, operation, exchange } = this.#context;
    const bundle = gate.current()?.bundle;
    return bundle && answerMask(session, bundle, { operation }, exchange.request.method);
  }
}

const unnamed = { name: undefined, id: undefined, retry: undefined };

function place(event: ServerEvent): string {
  return event.id === undefined ? "" : writeEvent({ ...event, name: undefined }, undefined);
}

function modeOf(status: number, headers: Headers): Mode {
  const media =
    String(headers["content-type"] ?? "")
      .split(";")[0]
      ?.trim()
      .toLowerCase() ?? "";
  if (status >= 300) return "plain";
  if (media === "text/event-stream") return "events";
  return media === "application/json" && status === 200 ? "json" : "none";
}

/** Whatever is no message breaks the answer off: nobody knows what the agent would read in it. */
function said<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof NotSpoken) throw notSpoken(error.message);
    throw error;
  }
}

function notSpoken(why: string): ProxyError {
  return new ProxyError("UpstreamProtocol", `the MCP server broke the protocol: ${why}`);
}
