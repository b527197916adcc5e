// Origin and load generator of the HTTP benchmark, in one process on the core that the proxy does not use. Both are as plain
// as sockets allow (whole requests and answers are prepared bytes), so that they are not what is measured.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";

export interface LoadOrder {
  readonly method: "POST" | "GET";
  /** 0: straight to the origin. */
  readonly port: number;
  readonly seconds: number;
  readonly connections: number;
}

export interface LoadResult {
  readonly requests: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly failures: number;
}

const bodyBytes = 1024;
const body = `{"pad":"${"x".repeat(bodyBytes - 10)}"}`;
const answer = Buffer.from(
  `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${bodyBytes}\r\n\r\n${body}`,
);
/** Local mode checks that the Host header is its own. */
function requestFor(method: LoadOrder["method"], port: number): Buffer {
  const head = `${method} /v1/orders HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUser-Agent: bench\r\nAccept: */*\r\n`;
  return Buffer.from(
    method === "GET"
      ? `${head}\r\n`
      : `${head}Content-Type: application/json\r\nContent-Length: ${bodyBytes}\r\n\r\n${body}`,
  );
}
const headEnd = Buffer.from("\r\n\r\n");
/** Latencies are counted in steps of this many microseconds, up to a second. */
const stepUs = 20;
const steps = 50_000;

/** Calls `whole` for every message with a body of `bodyBytes`; enough of HTTP for bytes that we made ourselves. */
function messages(socket: Socket, whole: () => void): void {
  // A GET is the one message without a body; only the origin gets one.
  const get = 71;
  const answerStart = 72;
  let pending: Buffer | undefined;
  socket.on("data", (chunk: Buffer) => {
    let bytes = pending === undefined ? chunk : Buffer.concat([pending, chunk]);
    if (bytes[0] === answerStart && bytes.indexOf("HTTP/1.1 200") !== 0)
      throw new Error(`refused: ${bytes.toString("utf8", 0, 2_000)}`);
    for (;;) {
      const head = bytes.indexOf(headEnd);
      const end = head + headEnd.length + (bytes[0] === get ? 0 : bodyBytes);
      if (head < 0 || bytes.length < end) break;
      whole();
      bytes = bytes.subarray(end);
    }
    pending = bytes.length > 0 ? bytes : undefined;
  });
}

async function startOrigin(): Promise<number> {
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    messages(socket, () => socket.write(answer));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

async function load({ method, port, seconds, connections }: LoadOrder): Promise<LoadResult> {
  const counts = new Uint32Array(steps);
  let requests = 0;
  let failures = 0;
  let running = true;
  const request = requestFor(method, port);
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
    socket.on("error", () => failures++);
    socket.on("connect", send);
    messages(socket, () => {
      const step = Math.min(steps - 1, Math.floor(((performance.now() - sentAt) * 1_000) / stepUs));
      counts[step] = (counts[step] ?? 0) + 1;
      requests++;
      if (running) send();
    });
    return socket;
  });
  const started = performance.now();
  await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
  running = false;
  const elapsed = (performance.now() - started) / 1_000;
  const result = {
    requests,
    seconds: elapsed,
    p50Ms: at(counts, requests, 0.5),
    p99Ms: at(counts, requests, 0.99),
    failures,
  };
  for (const socket of sockets) socket.destroy();
  return result;
}

function at(counts: Uint32Array, total: number, share: number): number {
  let seen = 0;
  for (let step = 0; step < steps; step++) {
    seen += counts[step] ?? 0;
    if (seen >= total * share) return ((step + 1) * stepUs) / 1_000;
  }
  return Number.NaN;
}

const originPort = await startOrigin();
process.send?.(originPort);
process.on("message", (order: LoadOrder) => {
  load(order).then(
    (result) => process.send?.(result),
    (error: unknown) => {
      throw error;
    },
  );
});
process.on("disconnect", () => process.exit(0));
