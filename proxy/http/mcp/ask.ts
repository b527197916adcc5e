// What a request of an `mcp` connection asks for: its message is read before the decision, and each message of the answer on its way back.
import { isObject } from "../../../policy/llm/json.ts";
import { recogniseHttp } from "../../../policy/http/recognise.ts";
import type { DetectMask, Limits } from "../../../policy/bundle.ts";
import { rewrittenHeaders } from "../../../policy/mcp/headers.ts";
import { exactMessage } from "../../../policy/mcp/exact.ts";
import { readMessage, rpcCodes } from "../../../policy/mcp/message.ts";
import type { Message } from "../../../policy/mcp/message.ts";
import { askedOfClients, transportMethods } from "../../../policy/mcp/methods.ts";
import { operationOf, recogniseMcp } from "../../../policy/mcp/recognise.ts";
import type { McpReading } from "../../../policy/mcp/recognise.ts";
import { mcpShape } from "../../../policy/mcp/shape.ts";
import type { Counts } from "../../../policy/mask/stream.ts";
import type { HttpOperation, JsonObject } from "../../../policy/operation.ts";
import type { Gate, GateSession, LiveGrant } from "../../pipeline.ts";
import { contentText, literal, tooLarge } from "../asked.ts";
import type { Asked } from "../asked.ts";
import type { Exchange } from "../exchange.ts";
import type { RequestHead } from "../head.ts";
import { maskRequest } from "../mask-request.ts";
import { finish } from "../refusal.ts";
import { McpGuard } from "./guard.ts";
import { placeFor, placeOf, upstreamPlace } from "./legacy.ts";
import { changedIn, ToolPins, withChange } from "./pins.ts";
import { McpRecord } from "./record.ts";
import { Replies } from "./reply.ts";
import { sayer } from "./say.ts";
import { McpSessions } from "./sessions.ts";
import type { McpSession, MessagePlace } from "./sessions.ts";

export interface McpAsking {
  readonly exchange: Exchange;
  readonly head: RequestHead;
  readonly live: LiveGrant;
  readonly gate: Gate;
  readonly session: GateSession;
  /** Those of requests that apply now. */
  readonly masks: readonly DetectMask[];
}

export type AskMcp = (asking: McpAsking) => Promise<Asked>;

/** Arguments with files in them run to a few megabytes; what is decided on has to be held while it is. */
const bodyLimit = 4 * 1024 * 1024;

export function createAskMcp(): AskMcp {
  const sessions = new McpSessions();
  const pins = new ToolPins();
  return (asking) => askMcp(asking, sessions, pins);
}

/** A request as far as it could be read. */
interface Read extends McpAsking {
  readonly reading: McpReading;
  readonly state: McpSession;
  readonly sessions: McpSessions;
  readonly pins: ToolPins;
  readonly place: MessagePlace | undefined;
  readonly body: Buffer | undefined;
  readonly masked: Counts;
  readonly sentHead: RequestHead;
}

async function askMcp(asking: McpAsking, sessions: McpSessions, pins: ToolPins): Promise<Asked> {
  const { exchange, head, live, gate, session, masks } = asking;
  const prefix =
    exchange.request.body.length !== 0 ? await exchange.readPrefix(bodyLimit) : undefined;
  if (prefix?.complete === false) throw tooLarge(bodyLimit, "a message to an MCP server");
  exchange.bytesIn = prefix?.bytes.length ?? 0;
  const token = placeOf(head);
  const place = token === undefined ? undefined : sessions.place(gate, token);
  const state = place?.session ?? sessions.of(gate, sessionOf(head));
  const http = recogniseHttp({
    method: head.method,
    host: literal(live.endpoint.host),
    target: head.target,
    headers: head.all,
  });
  const masked: Counts = {};
  const isReadable =
    prefix !== undefined && prefix.bytes.length > 0 && head.contentEncoding === undefined;
  const original = isReadable ? prefix.bytes : undefined;
  const body =
    original &&
    prepared(
      maskRequest(original, { shape: mcpShape }, masks, live.bundle, session.vault, masked),
      session,
      http,
    );
  const before = body !== original && original !== undefined ? readMessage(original) : undefined;
  const after = before === undefined || body === undefined ? undefined : readMessage(body);
  const sentHead = sent(head, place, before, after);
  const reading = read({ head: sentHead, http, live, state, body, original, token, place });
  const { message, claims, problem } = reading;
  const say = sayer({ message, generation: claims?.generation ?? "session", problem });
  exchange.say = place === undefined ? say : saidOnStream(place, say);
  if (reading.operation.facts.method === "tools/list") await pins.load(gate, exchange.signal);
  return asked({ ...asking, reading, state, sessions, pins, place, body, masked, sentHead });
}

function asked(read: Read): Asked {
  const { exchange, live, gate, reading, state, sessions, body, masked, sentHead } = read;
  const { message, claims } = reading;
  const change = changedIn(reading.operation, read.pins, gate);
  const operation = withChange(reading.operation, change, live.endpoint.toolChanges);
  const isFull = live.bundle.recording.detail === "Full";
  const isStream = message === undefined;
  let ended = (): void => {};
  const record = new McpRecord(isFull ? textOf(message) : undefined, isFull, () => ended());
  const asking =
    message?.kind === "request"
      ? {
          id: message.id,
          method: message.method,
          generation: claims?.generation ?? "session",
          operation,
        }
      : undefined;
  return {
    operation,
    masked,
    exact: () =>
      exactMessage(message, operation.facts.method, body?.toString("latin1") ?? "") +
      (change === undefined ? "" : `\n${change.digest}`),
    content:
      message === undefined
        ? undefined
        : () => ({
            part: "request",
            text: contentText(Buffer.from(textOf(message, change?.tool))),
          }),
    form: "whole",
    head: sentHead,
    body: async () => {
      if (change !== undefined) await read.pins.accept(gate, change, exchange.signal);
      if (asking !== undefined && (claims?.session !== undefined || read.place !== undefined))
        state.await(asking, body?.length ?? 0);
      if (message?.kind === "result" || message?.kind === "error")
        if (message.id !== undefined) state.answered(message.id);
      if (operation.facts.method === transportMethods.end && claims?.session !== undefined)
        sessions.end(gate, claims.session);
      return body ?? null;
    },
    observer: () => record,
    guard: (upstream, sent) => {
      const own = isStream && claims?.session === undefined ? sessions.alone() : state;
      let target: string | undefined;
      const opens = isStream && exchange.request.method === "GET";
      return new McpGuard({
        ...read,
        state: own,
        record,
        operation,
        asking,
        generation: claims?.generation ?? "session",
        signal: () => exchange.signal,
        replies: new Replies(upstream, sent),
        named: (session) => void sessions.of(gate, session),
        isAwaited: opens || (asking !== undefined && read.place === undefined),
        target: () => target,
        endpoint: opens
          ? (data) => {
              target = upstreamPlace(data, live.endpoint, sentHead.path);
              const say = (text: string): void =>
                exchange.interject(Buffer.from(`event: message\ndata: ${text}\n\n`));
              const token = sessions.open({ gate, session: own, target, say });
              ended = () => sessions.close(token);
              return placeFor(sentHead.path, token);
            }
          : undefined,
      });
    },
    limits: exchangeLimits(live.bundle.limits, isStream),
  };
}

interface Reading {
  readonly head: RequestHead;
  readonly http: HttpOperation;
  readonly live: LiveGrant;
  readonly state: McpSession;
  readonly body: Buffer | undefined;
  readonly original: Buffer | undefined;
  readonly token: string | undefined;
  readonly place: MessagePlace | undefined;
}

function read({ head, http, live, state, body, original, token, place }: Reading): McpReading {
  const reading = recogniseMcp({
    http,
    headers: head.all,
    basePath: live.endpoint.basePath,
    answers: (id) => state.asked(id),
    ...(body !== undefined && { body }),
    ...(original !== undefined && original !== body && { original }),
  });
  if (reading.problem !== undefined) return reading;
  if (token !== undefined && place === undefined)
    return unread(
      reading,
      "the stream that this place for messages belongs to is over; open another",
    );
  return reading;
}

function unread(reading: McpReading, problem: string): McpReading {
  const { message } = reading;
  const id =
    message !== undefined && "id" in message && message.id !== undefined ? { id: message.id } : {};
  return {
    ...reading,
    operation: { ...reading.operation, unrecognised: problem },
    problem: { code: rpcCodes.invalidRequest, problem, ...id },
  };
}

function sessionOf(head: RequestHead): string | undefined {
  const session = head.all["mcp-session-id"];
  return typeof session === "string" ? session : undefined;
}

/** The target of the older transport's place, and headers that mirror what masks changed. */
function sent(
  head: RequestHead,
  place: MessagePlace | undefined,
  before: ReturnType<typeof readMessage> | undefined,
  after: ReturnType<typeof readMessage> | undefined,
): RequestHead {
  const moved = place === undefined ? head : { ...head, target: place.target };
  if (before === undefined || after === undefined || "problem" in before || "problem" in after)
    return moved;
  const kept = rewrittenHeaders(moved.kept, before, after);
  const all = { ...moved.all };
  for (let at = 0; at + 1 < kept.length; at += 2) {
    const name = kept[at] ?? "";
    if (typeof all[name] === "string") all[name] = kept[at + 1] ?? "";
  }
  return { ...moved, kept, all };
}

/** A server that knows what it must not ask does not ask: capabilities whose requests no rule allows are taken out of the handshake. */
function prepared(body: Buffer, session: GateSession, http: HttpOperation): Buffer {
  if (!body.includes('"initialize"')) return body;
  const message = readMessage(body);
  if (!("method" in message) || message.kind !== "request" || message.method !== "initialize")
    return body;
  const { capabilities } = message.params;
  if (!isObject(capabilities)) return body;
  const refused = [...askedOfClients].filter(
    ([method, capability]) =>
      capability in capabilities &&
      session.decideNow(operationOf(http, [{ kind: "mcp", method, fromServer: true }], ""))
        ?.verdict !== "allow",
  );
  if (refused.length === 0) return body;
  const kept = Object.entries(capabilities).filter(
    ([name]) => !refused.some(([, one]) => one === name),
  );
  const params = { ...message.params, capabilities: Object.fromEntries(kept) };
  return Buffer.from(
    JSON.stringify({ jsonrpc: "2.0", id: message.id, method: message.method, params }),
  );
}

/** For approvers and recordings: what is asked, without what only the transport needs. */
function textOf(message: Message | undefined, changed?: JsonObject): string {
  if (message === undefined) return "";
  if (!("method" in message))
    return JSON.stringify(message.kind === "result" ? message.result : message.error);
  const { _meta: _, ...params } = message.params;
  return JSON.stringify({
    method: message.method,
    ...params,
    ...(changed !== undefined && { changed }),
  });
}

/** Clients of the older transport hear nothing but the stream. */
function saidOnStream(
  place: MessagePlace,
  say: ReturnType<typeof sayer>,
): ReturnType<typeof sayer> {
  return (error, decision) => {
    place.say(say(error, decision).body.toString("utf8"));
    return { ...finish(202, [], {}), headers: ["content-length", "0"], body: Buffer.alloc(0) };
  };
}

/** Bytes are counted message by message (judge.ts), and a stream may be silent for as long as its server has nothing to say. */
function exchangeLimits({ bytesPerResult: _, ...limits }: Limits, isStream: boolean): Limits {
  const { idleTimeoutSeconds: __, ...others } = limits;
  return isStream ? others : limits;
}
