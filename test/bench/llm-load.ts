// Model server, API server and load generator of the benchmark of models, in one process on the core that the proxy does not use.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import {
  answers,
  firstDelta,
  lastChunk,
  mail,
  pauseMs,
  requestFor,
  rest,
  streamed,
  type LlmOrder,
  type LlmResult,
} from "./llm-answers.ts";

const headEnd = Buffer.from("\r\n\r\n");
const ending = Buffer.from(lastChunk);

/** Enough of HTTP for requests that come one at a time and that we made ourselves. */
async function startOrigin(): Promise<number> {
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    let pending: Buffer = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
      const head = pending.indexOf(headEnd);
      if (head < 0) return;
      const text = pending.toString("latin1", 0, head);
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
      if (pending.length < head + headEnd.length + length) return;
      pending = Buffer.alloc(0);
      answer(socket, /x-asked: (\w+)/i.exec(text)?.[1]);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

function answer(socket: Socket, asked: string | undefined): void {
  if (asked === "first") {
    socket.write(firstDelta);
    setTimeout(() => socket.write(rest), pauseMs);
  } else if (asked === "stream") socket.write(streamed);
  else if (asked === "chat" || asked === "plain" || asked === "body") socket.write(answers[asked]);
  else socket.destroy(new Error("nobody asked for this"));
}

interface Seen {
  /** Of the answer that is coming. */
  bytes: number;
  /** It has, its head included; undefined where it comes in chunks. */
  readonly length: number | undefined;
  tail: Buffer;
  hasSpoken: boolean;
  hasFailed: boolean;
}

/** Reads one answer after the other. */
class Answers {
  #seen: Seen | undefined;
  readonly #first: () => void;
  readonly #whole: (bytes: number, hasFailed: boolean) => void;

  /** @param first the first delta of an answer is there */
  constructor(first: () => void, whole: (bytes: number, hasFailed: boolean) => void) {
    this.#first = first;
    this.#whole = whole;
  }

  take(chunk: Buffer): void {
    const seen = (this.#seen ??= begun(chunk));
    seen.bytes += chunk.length;
    if (!seen.hasSpoken && chunk.includes("data: ")) {
      seen.hasSpoken = true;
      this.#first();
    }
    seen.hasFailed ||= isMasked && chunk.includes(mail);
    seen.tail = chunk.length >= ending.length ? chunk : Buffer.concat([seen.tail, chunk]);
    const isOver =
      seen.length === undefined
        ? seen.tail.subarray(-ending.length).equals(ending)
        : seen.bytes >= seen.length;
    if (!isOver) return;
    this.#seen = undefined;
    this.#whole(seen.bytes, seen.hasFailed);
  }
}

/** What is being asked for goes through masks: a mail in it is a failure. */
let isMasked = false;

function begun(chunk: Buffer): Seen {
  const head = chunk.toString("latin1", 0, Math.max(0, chunk.indexOf(headEnd)));
  if (!head.startsWith("HTTP/1.1 200"))
    throw new Error(`refused: ${chunk.toString("utf8", 0, 2_000)}`);
  const length = /content-length: (\d+)/i.exec(head)?.[1];
  return {
    bytes: 0,
    length: length === undefined ? undefined : head.length + headEnd.length + Number(length),
    tail: Buffer.alloc(0),
    hasSpoken: false,
    hasFailed: false,
  };
}

async function load({ asked, port, seconds, connections }: LlmOrder): Promise<LlmResult> {
  isMasked = port !== 0 && (asked === "stream" || asked === "body");
  const latencies: number[] = [];
  let bytes = 0;
  let answered = 0;
  let failures = 0;
  let running = true;
  const request = requestFor(asked, port);
  const sockets = Array.from({ length: connections }, () => {
    const socket = connect({
      port: port === 0 ? originPort : port,
      host: "127.0.0.1",
      noDelay: true,
    });
    let sentAt = 0;
    const send = (): void => {
      sentAt = performance.now();
      socket.write(request);
    };
    const reader = new Answers(
      () => {
        if (asked === "first") latencies.push(performance.now() - sentAt);
      },
      (size, hasFailed) => {
        if (asked !== "first") latencies.push(performance.now() - sentAt);
        answered += 1;
        bytes += size;
        if (hasFailed) failures += 1;
        if (running) send();
      },
    );
    socket.on("error", () => failures++);
    socket.on("connect", send);
    socket.on("data", (chunk: Buffer) => reader.take(chunk));
    return socket;
  });
  const started = performance.now();
  await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
  running = false;
  const result = {
    answers: answered,
    bytes,
    seconds: (performance.now() - started) / 1_000,
    p50Ms: latencies.toSorted((a, b) => a - b)[latencies.length >> 1] ?? Number.NaN,
    failures,
  };
  for (const socket of sockets) socket.destroy();
  return result;
}

const originPort = await startOrigin();
process.send?.(originPort);
process.on("message", (order: LlmOrder) => {
  load(order).then(
    (result) => process.send?.(result),
    (error: unknown) => {
      throw error;
    },
  );
});
process.on("disconnect", () => process.exit(0));
