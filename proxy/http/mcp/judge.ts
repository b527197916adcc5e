// Holds each message of a server against the rules in force at that moment, masks it, and records it: text in, text out.
import { judge } from "../../../policy/mcp/answer.ts";
import type { AnswerRules, Judged, Pending } from "../../../policy/mcp/answer.ts";
import { mayUse } from "../../../policy/mcp/listing.ts";
import { readMessage, rpcCodes } from "../../../policy/mcp/message.ts";
import type { Message, MessageId } from "../../../policy/mcp/message.ts";
import { operationOf } from "../../../policy/mcp/recognise.ts";
import { errorMessage, refusalMessage } from "../../../policy/mcp/refusal.ts";
import type { Refused } from "../../../policy/mcp/refusal.ts";
import { mcpShape } from "../../../policy/mcp/shape.ts";
import type { Generation } from "../../../policy/mcp/version.ts";
import { maskJson, NotMaskable } from "../../../policy/mask/stream-json.ts";
import type { DetectMask } from "../../../policy/bundle.ts";
import type { Counts } from "../../../policy/mask/stream.ts";
import type { JsonObject, McpOperation } from "../../../policy/operation.ts";
import type { Gate, GateSession, LiveGrant } from "../../pipeline.ts";
import { findings } from "../marks.ts";
import type { SeeFindings } from "../marks.ts";
import { maskerOf } from "../mask-answer.ts";
import type { ToolPins } from "./pins.ts";
import type { McpRecord } from "./record.ts";
import type { McpSession } from "./sessions.ts";

export interface JudgeContext {
  readonly gate: Gate;
  readonly session: GateSession;
  readonly state: McpSession;
  readonly pins: ToolPins;
  readonly record: McpRecord;
  readonly generation: Generation;
  /** What the answer is to; of a GET the stream itself. */
  readonly operation: McpOperation;
  /** Of a request that has an answer of its own. */
  readonly asking: Pending | undefined;
  readonly signal: () => AbortSignal;
}

/** What the agent gets to see of a message; undefined for nothing. `asked`: it is decided on its own. */
export type Heard =
  | { readonly text: string | undefined }
  | { readonly asked: Extract<Message, { kind: "request" }> };

export class McpJudge {
  readonly #context: JudgeContext;
  readonly counts: Counts = {};
  #seeing: readonly DetectMask[] | undefined;
  #see: SeeFindings | undefined;
  readonly #rules: AnswerRules;

  constructor(context: JudgeContext) {
    this.#context = context;
    const { state, session, asking } = context;
    this.#rules = {
      generation: context.generation,
      pending: (id) => (asking?.id === id ? asking : state.pending(id)),
      refusal: (operation) => this.refusal(operation),
      mayUse: (listed) => mayUse(this.#live().prepared, session.chain, listed),
      isPinned: (tool) => context.pins.isPinned(context, tool),
      mayAsk: (method) => this.#mayAsk(method),
    };
  }

  /** Throws NotSpoken for what is no message of the protocol, where there is no request that could be told so. */
  hear(text: string): Heard {
    const message = readMessage(text);
    if ("problem" in message) return { text: this.#broken(message.problem) };
    const judged = this.#limited(message, text) ?? judge(message, this.#rules);
    if (judged.is === "asked" && message.kind === "request") return { asked: message };
    const shown = this.#shown(judged, text);
    if (message.kind === "result" || message.kind === "error") this.#settled(message, judged);
    return { text: shown === undefined ? undefined : this.#finished(shown, message) };
  }

  /** Of a server's request that may go on. */
  let(text: string, { id, method }: Extract<Message, { kind: "request" }>): string | undefined {
    this.#context.state.ask(id, method);
    return this.#finished(text, undefined);
  }

  /** What the rules in force now say against an operation; a person who let it pass did so for this one. */
  refusal(operation: McpOperation): Refused | undefined {
    const decision = this.#context.session.decideNow(operation);
    if (decision === undefined)
      return {
        code: 403,
        message: "the grant for this connection ended before the answer came",
        data: { code: "GrantEnded" },
      };
    if (decision.verdict !== "deny") return undefined;
    const { policy, rule, reason, message } = decision;
    return { code: 403, message, data: { code: "Denied", policy, rule, reason } };
  }

  /** The operation that a request of the server is. */
  asked(method: string): McpOperation {
    const { operation, session } = this.#context;
    const http = { facts: operation.http };
    const asked = operationOf(
      http,
      [{ kind: "mcp", method, fromServer: true }],
      operation.facts.version,
    );
    return session.decideNow(asked)?.verdict === "hold"
      ? {
          ...asked,
          unrecognised:
            "the server waits for its answer, so it cannot be held for a person; allow it or leave it out",
        }
      : asked;
  }

  /** A refusal in the place of the answer that is awaited; undefined where none is. */
  instead(refused: Refused): string | undefined {
    const { asking, record } = this.#context;
    record.failed(refused.data?.code ?? "UpstreamProtocol");
    if (asking === undefined) return undefined;
    const text = JSON.stringify(refusalMessage(asking, refused));
    record.said(text);
    return text;
  }

  #live(): LiveGrant {
    const live = this.#context.gate.current();
    if (live === undefined) throw new NotSpoken("the grant for this connection ended");
    return live;
  }

  #broken(problem: string): string {
    const text = this.instead({
      code: rpcCodes.internal,
      message: `the MCP server broke the protocol: its answer was not understood: ${problem}`,
      data: { code: "UpstreamProtocol" },
    });
    if (text === undefined) throw new NotSpoken(problem);
    return text;
  }

  /** Results are bounded one by one: a stream of them has no end. */
  #limited(message: Message, text: string): Judged | undefined {
    const most = this.#live().bundle.limits.bytesPerResult;
    if (most === undefined || Buffer.byteLength(text) <= most) return undefined;
    const refused: Refused = {
      code: 429,
      message: `the answer has more than ${most} bytes (limits.bytesPerResult)`,
      data: { code: "LimitExceeded" },
    };
    if (message.kind !== "result") return { is: "dropped" };
    const pending = this.#rules.pending(message.id);
    const said =
      pending === undefined ? errorMessage(message.id, refused) : refusalMessage(pending, refused);
    return { is: "replaced", message: said, refused };
  }

  #shown(judged: Judged, text: string): string | undefined {
    switch (judged.is) {
      case "passed":
        return text;
      case "replaced":
        return JSON.stringify(judged.message);
      case "dropped":
      case "asked":
        return undefined;
      default:
        return judged satisfies never;
    }
  }

  #settled(message: Extract<Message, { kind: "result" | "error" }>, judged: Judged): void {
    const { state, record } = this.#context;
    if (message.id !== undefined) state.settle(message.id);
    if (judged.is === "replaced" && judged.refused !== undefined)
      record.failed(judged.refused.data?.code ?? "Denied");
    else if (message.kind === "error") record.failed("RpcError");
    else if (message.result["isError"] === true) record.failed("ToolError");
  }

  #finished(text: string, message: Message | undefined): string | undefined {
    const { bundle } = this.#live();
    let masked = text;
    const masks = this.#context.session.masksNow(bundle.detectMasks);
    if (masks.length > 0) {
      try {
        const masker = maskerOf(masks, bundle);
        masked = maskJson(
          { masker, counts: this.counts, shape: mcpShape, otherwise: "refuse" },
          text,
        );
      } catch (error) {
        if (!(error instanceof NotMaskable)) throw error;
        masked = JSON.stringify(this.#unmaskable(error, message));
      }
    }
    // Before it goes out: what the agent read, its pod carries.
    if (this.#seeing !== masks) {
      this.#seeing = masks;
      this.#see = findings(masks, this.#context.session, this.#context.operation);
    }
    this.#see?.(this.counts);
    this.#context.record.said(masked);
    return masked;
  }

  #unmaskable({ message: why }: NotMaskable, message: Message | undefined): JsonObject {
    const refused: Refused = {
      code: 403,
      message: `the answer cannot be masked: ${why}`,
      data: { code: "MaskNotProvable" },
    };
    this.#context.record.failed("MaskNotProvable");
    const id: MessageId | undefined =
      message !== undefined && "id" in message ? message.id : undefined;
    const pending = id === undefined ? undefined : this.#rules.pending(id);
    return pending === undefined ? errorMessage(id, refused) : refusalMessage(pending, refused);
  }

  /** Recorded like a request of the server; the answer that brings it is not held back for the record. */
  #mayAsk(method: string): boolean {
    const { session, signal } = this.#context;
    const operation = this.asked(method);
    const isAllowed = session.decideNow(operation)?.verdict === "allow";
    void Promise.resolve(
      session.pass(operation, { exact: () => `server ${method}`, signal: signal() }),
    ).then((passage) => passage.go && passage.done({ status: "ok" }));
    return isAllowed;
  }
}

/** The server said what is no message, and nobody waits for an answer that could be refused instead. */
export class NotSpoken extends Error {}
