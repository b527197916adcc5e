// What the benchmark of models asks for and what it is answered: bytes prepared once, so that making them is not what is measured.

/** What is asked for: a chat of 1 kB, the same bytes to a plain API, a stream, a stream that pauses behind its first delta, a large body. */
export type Asked = "chat" | "plain" | "stream" | "first" | "body";

export interface LlmOrder {
  readonly asked: Asked;
  /** 0: straight to the origin. */
  readonly port: number;
  readonly seconds: number;
  readonly connections: number;
}

export interface LlmResult {
  readonly answers: number;
  readonly bytes: number;
  readonly seconds: number;
  /** Until an answer is whole; of `first` until its first delta is there. */
  readonly p50Ms: number;
  readonly failures: number;
}

/** Deltas of one streamed answer. */
export const deltasPerAnswer = 2_000;
const bodyBytes = 1024;
const pad = "The parcel was left with the neighbour. ".repeat(30);
/** What detectors find in answers. No agent may see it. */
export const mail = "jane@example.com";
const findingEvery = 200;
/** Milliseconds: how long the origin waits between the first delta of `first` and the rest: far longer than anything that is measured. */
export const pauseMs = 20;

const chatAnswer = padded((text) => ({
  id: "chatcmpl-1",
  object: "chat.completion",
  created: 1_700_000_000,
  model: "gpt-5",
  choices: [{ index: 0, message: { role: "assistant", content: text }, finish_reason: "stop" }],
  usage: { prompt_tokens: 210, completion_tokens: 170, total_tokens: 380 },
}));
const chatBody = (stream: boolean): string =>
  padded((content) => ({
    model: "gpt-5",
    ...(stream && { stream }),
    temperature: 0.2,
    messages: [
      { role: "system", content: "You answer questions about orders." },
      { role: "user", content },
    ],
  }));

const records = JSON.stringify(
  Array.from({ length: 4_000 }, (_, index) => ({
    id: index,
    name: `Customer number ${index}`,
    note: "has ordered before, and will order again. ".repeat(4),
    at: "2026-11-30T12:30:45.123Z",
    total: 12.5,
    ...(index % findingEvery === 0 && { mail }),
  })),
);

export const answers: Readonly<Record<Exclude<Asked, "stream" | "first">, Buffer>> = {
  chat: answerOf(chatAnswer),
  plain: answerOf(chatAnswer),
  body: answerOf(records),
};
const streamHead =
  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
export const firstDelta = Buffer.from(streamHead + chunkOf(deltaOf("Hello, ")));
export const lastChunk = "0\r\n\r\n";
export const streamed = Buffer.from(
  streamHead + deltas() + chunkOf("data: [DONE]\n\n") + lastChunk,
);
export const rest = Buffer.from(
  chunkOf(deltaOf("world.")) + chunkOf("data: [DONE]\n\n") + lastChunk,
);

const paths: Readonly<Record<Asked, string>> = {
  chat: "POST /v1/chat/completions",
  plain: "POST /v1/orders",
  stream: "POST /v1/chat/completions",
  first: "POST /v1/chat/completions",
  body: "GET /v1/orders/all",
};

/** A JSON text of `bodyBytes`, whose own text is as long as that takes. */
function padded(make: (text: string) => unknown): string {
  const least = JSON.stringify(make("")).length;
  return JSON.stringify(make(pad.slice(0, bodyBytes - least)));
}

function answerOf(body: string): Buffer {
  return Buffer.from(
    `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

function deltaOf(content: string | undefined): string {
  const event = {
    id: "chatcmpl-1",
    object: "chat.completion.chunk",
    created: 1_700_000_000,
    model: "gpt-5",
    choices: [{ index: 0, delta: { content }, finish_reason: null }],
  };
  return `data: ${JSON.stringify(event)}\n\n`;
}

function deltas(): string {
  const words =
    "The order was placed on Monday and will be shipped to the customer at the end of this week ."
      .split(" ")
      .map((word) => `${word} `);
  return Array.from({ length: deltasPerAnswer }, (_, index) =>
    chunkOf(deltaOf(index % findingEvery === 0 ? `${mail} ` : words[index % words.length])),
  ).join("");
}

function chunkOf(text: string): string {
  return `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
}

/** Local mode checks that the Host header is its own. What is asked for stands in a header, which the proxy passes on. */
export function requestFor(asked: Asked, port: number): Buffer {
  const head = `${paths[asked]} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUser-Agent: bench\r\nAccept: */*\r\nX-Asked: ${asked}\r\n`;
  if (asked === "body") return Buffer.from(`${head}\r\n`);
  const body = chatBody(asked === "stream" || asked === "first");
  return Buffer.from(
    `${head}Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}
