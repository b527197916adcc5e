// Turns recorded events into frames on one timeline, and plays them: prompt, tool call, statement, rows, verdict, in the order they happened.
import type { ContentRecord, StoredEvent } from "../../contract/event.ts";
import { carriedText, requestText, resultOf, summaryOf, verdictOf } from "./format.ts";
import { renderFrame } from "./render.ts";

export type FrameKind = "session" | "request" | "verdict" | "response" | "notice";

/** One thing that happened, as it is shown. Texts are as recorded; `renderFrame` makes them safe. */
export interface ReplayFrame {
  readonly offsetMs: number;
  readonly time: string;
  readonly stream: string;
  readonly seq: number;
  readonly session: string;
  readonly kind: FrameKind;
  /** What speaks: `prompt`, `statement`, `request`, `tools`, `answer`, `rows`, `allow`, `deny`, `hold`, … */
  readonly label: string;
  readonly connection: string;
  readonly chain?: string;
  readonly summary: string;
  readonly texts: readonly FrameText[];
}

export interface FrameText {
  readonly part: string;
  readonly text: string;
  readonly truncated: boolean;
}

/** Two events name a moment in the same millisecond often enough; the order of the frame kinds settles what comes first. */
const kindOrder: Readonly<Record<FrameKind, number>> = {
  session: 0,
  notice: 1,
  request: 2,
  verdict: 3,
  response: 4,
};

interface TimedFrame extends Omit<ReplayFrame, "offsetMs"> {
  readonly at: number;
}

/** Frames of all the given events, of however many sessions, in the order they happened. */
export function replay(
  events: readonly StoredEvent[],
  contents: readonly ContentRecord[],
): readonly ReplayFrame[] {
  const texts = Map.groupBy(contents, (content) => `${content.session} ${content.seq}`);
  const intents = new Map(
    events
      .filter((event) => event.header.type === "intent")
      .map((event) => [`${event.header.stream} ${event.header.seq}`, event]),
  );
  const closed = new Set(
    events.flatMap((event) =>
      event.body.intent === undefined ? [] : [`${event.header.stream} ${event.body.intent}`],
    ),
  );
  const frames = events.flatMap((event) => {
    const own = textsOf(event, texts.get(`${event.body.session ?? ""} ${event.header.seq}`) ?? []);
    if (event.header.type === "operation")
      return operationFrames(
        event,
        own,
        intents.get(`${event.header.stream} ${event.body.intent ?? 0}`),
      );
    if (event.header.type === "intent")
      return closed.has(`${event.header.stream} ${event.header.seq}`)
        ? []
        : [unfinished(event, own)];
    return [noticeFrame(event, own)];
  });
  const sorted = frames.sort(
    (a, b) => a.at - b.at || a.seq - b.seq || kindOrder[a.kind] - kindOrder[b.kind],
  );
  const start = sorted[0]?.at ?? 0;
  const said = new Map<string, string>();
  return sorted.map(({ at, ...frame }) => ({
    ...frame,
    texts: newTexts(frame, said),
    offsetMs: at - start,
  }));
}

/** A model is sent the whole conversation each time; the timeline shows what is new of it. The recording keeps it all. */
function newTexts(frame: Omit<TimedFrame, "at">, said: Map<string, string>): readonly FrameText[] {
  if (frame.label !== "prompt") return frame.texts;
  return frame.texts.map((entry) => {
    const before = said.get(frame.session) ?? "";
    said.set(frame.session, entry.text);
    const isContinuation =
      before !== "" && entry.text.startsWith(before) && entry.text.length > before.length;
    return isContinuation ? { ...entry, text: entry.text.slice(before.length).trimStart() } : entry;
  });
}

function textsOf(event: StoredEvent, contents: readonly ContentRecord[]): readonly FrameText[] {
  const refs = event.body.operation?.content ?? [];
  return contents.map((content, index) => ({
    part: content.part,
    text: content.text,
    truncated: refs[index]?.truncated === true,
  }));
}

function frameOf(
  event: StoredEvent,
  at: number,
  rest: Pick<TimedFrame, "kind" | "label" | "summary" | "texts">,
): TimedFrame {
  const { header, body } = event;
  const chain = body.subject?.chain;
  return {
    at,
    time: new Date(at).toISOString(),
    stream: header.stream,
    seq: header.seq,
    session: body.session ?? "",
    connection: body.connection?.name ?? "",
    ...(chain === undefined ? {} : { chain }),
    ...rest,
  };
}

/** An operation is recorded when it is over; it began when its intent was written, or by its duration earlier. */
function operationFrames(
  event: StoredEvent,
  texts: readonly FrameText[],
  intent: StoredEvent | undefined,
): TimedFrame[] {
  const end = Date.parse(event.header.time);
  const start =
    intent === undefined
      ? end - Math.max(0, event.body.outcome?.durationMs ?? 0)
      : Date.parse(intent.header.time);
  const asked = texts.filter((text) => text.part === "request" || text.part === "params");
  const answered = texts.filter((text) => text.part === "response" || text.part === "rows");
  const frames = [
    frameOf(event, start, {
      kind: "request",
      label: requestLabel(event),
      summary: summaryOf(event),
      texts: asked,
    }),
    frameOf(event, start, {
      kind: "verdict",
      label: verdictOf(event),
      summary: verdictText(event),
      texts: [],
    }),
  ];
  const result = resultText(event);
  if (result === "" && answered.length === 0) return frames;
  return [
    ...frames,
    frameOf(event, end, {
      kind: "response",
      label: answerLabel(event),
      summary: result,
      texts: answered,
    }),
  ];
}

function unfinished(event: StoredEvent, texts: readonly FrameText[]): TimedFrame {
  return frameOf(event, Date.parse(event.header.time), {
    kind: "notice",
    label: "unknown",
    summary: `outcome unknown: ${summaryOf(event)}`,
    texts,
  });
}

function noticeFrame(event: StoredEvent, texts: readonly FrameText[]): TimedFrame {
  const kind =
    event.header.type === "session-start" || event.header.type === "session-end"
      ? "session"
      : "notice";
  return frameOf(event, Date.parse(event.header.time), {
    kind,
    label: event.header.type,
    summary: noticeText(event),
    texts,
  });
}

function noticeText(event: StoredEvent): string {
  const { body, header } = event;
  if (header.type !== "session-start" || body.subject === undefined) return summaryOf(event);
  return [
    `${body.subject.namespace}/${body.subject.serviceAccount} in ${body.subject.pod}`,
    summaryOf(event),
  ]
    .filter((part) => part !== "")
    .join(": ");
}

function requestLabel({ body }: StoredEvent): string {
  switch (body.operation?.kind) {
    case "sql":
      return "statement";
    case "llm":
      return "prompt";
    case "mcp":
      return "tool call";
    default:
      return "request";
  }
}

function answerLabel({ body }: StoredEvent): string {
  switch (body.operation?.kind) {
    case "sql":
      return "rows";
    case "llm":
      return "answer";
    case "mcp":
      return "tool result";
    default:
      return "response";
  }
}

function verdictText({ body }: StoredEvent): string {
  const { decision, request } = body;
  if (decision === undefined) return "";
  const rule = decision.rule === "" ? decision.reason : `${decision.policy} rule ${decision.rule}`;
  const why = decision.verdict === "allow" ? "" : `: ${decision.message}`;
  const asked = request === undefined ? "" : ` (request ${requestText(request)})`;
  const { wouldBe } = decision;
  const observed =
    wouldBe === undefined
      ? ""
      : ` (observed only: would be ${wouldBe.verdict} by ${wouldBe.policy} rule ${wouldBe.rule})`;
  const marked =
    body.marks === undefined || decision.verdict === "allow" ? "" : `; ${carriedText(body.marks)}`;
  return `${rule}${why}${asked}${observed}${marked}`;
}

/** The verdict frame has said why; here only what the upstream did, and which mark ended what had passed. */
function resultText(event: StoredEvent): string {
  const { outcome, marks, decision } = event.body;
  if (outcome === undefined || outcome.status === "pending") return "";
  const ended = decision?.verdict === "allow" ? marks : undefined;
  if (outcome.status === "denied" && ended === undefined) return "";
  return resultOf({ ...event, body: { outcome, ...(ended !== undefined && { marks: ended }) } });
}

export interface PlayOptions {
  /** 2 plays twice as fast. */
  readonly speed: number;
  /** False shows everything at once. */
  readonly wait: boolean;
  readonly color?: boolean;
  readonly width?: number;
  readonly write: (text: string) => void;
  readonly signal?: AbortSignal;
  /** Replaces the timer in tests. */
  readonly sleep?: (ms: number, signal: AbortSignal | undefined) => Promise<void>;
}

/** A model may think for a minute and a person may take an hour to approve; nobody wants to wait that long again. */
export const maxPauseMs = 3_000;

/** Writes the frames with the time that passed between them, divided by the speed. Ends early, without error, on abort. */
export async function play(frames: readonly ReplayFrame[], options: PlayOptions): Promise<void> {
  const { write, signal, color = false, width = 120, sleep = pause } = options;
  let last = 0;
  for (const frame of frames) {
    const ms = Math.min(maxPauseMs, Math.max(0, frame.offsetMs - last) / options.speed);
    if (options.wait && ms > 0) await sleep(ms, signal);
    if (signal?.aborted === true) return;
    last = frame.offsetMs;
    write(renderFrame(frame, { color, width }));
  }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    }
    signal?.addEventListener("abort", done, { once: true });
    if (signal?.aborted === true) done();
  });
}
