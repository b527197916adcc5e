import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { ProxyError } from "../errors.ts";
import { ReadBuffer } from "./read-buffer.ts";
import type { AnswerControl, AnswerHandler, Connected } from "./upstream-connection.ts";
import { UpstreamPool } from "./upstream-pool.ts";

interface Upstream {
  readonly port: number;
  /** Connections so far, and what each sent. */
  readonly sockets: Socket[];
  readonly requests: string[];
}

/** Answers each request with whatever `answer` says; undefined: not at all. */
async function upstream(
  t: TestContext,
  answer: (request: string, socket: Socket) => string | undefined,
): Promise<Upstream> {
  const sockets: Socket[] = [];
  const requests: string[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => undefined);
    socket.on("data", (bytes: Buffer) => {
      const request = bytes.toString("latin1");
      requests.push(request.split(" ")[1] ?? "");
      const text = answer(request, socket);
      if (text !== undefined) socket.write(text);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  return { port: address.port, sockets, requests };
}

interface PoolSetup {
  readonly maxConnections?: number;
  readonly now?: () => number;
  readonly failures?: Error[];
}

function poolTo(
  { port }: Upstream,
  { maxConnections = 2, now = () => performance.now(), failures = [] }: PoolSetup = {},
): UpstreamPool {
  return new UpstreamPool({
    host: "orders",
    maxConnections,
    now,
    connect: async () => {
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
      const reads = new ReadBuffer();
      const socket = connect({ port, host: "127.0.0.1", onread: reads.onread });
      await once(socket, "connect");
      return { socket, reads };
    },
  });
}

interface Result {
  readonly control: AnswerControl | undefined;
  readonly body: string;
}

function send(
  pool: UpstreamPool,
  path: string,
  hooks: Partial<AnswerHandler> = {},
): Promise<Result> {
  return new Promise((resolve, reject) => {
    let body = "";
    let control: AnswerControl | undefined;
    pool.dispatch(
      { method: "GET", path, headers: [], body: null },
      {
        onRequestStart(given) {
          control = given;
          hooks.onRequestStart?.(given);
        },
        onResponseStart(...args) {
          hooks.onResponseStart?.(...args);
        },
        onResponseData(_control, chunk) {
          body += chunk.toString("latin1");
        },
        onResponseEnd: () => resolve({ control, body }),
        onResponseError: (_control, error) => reject(error),
      },
    );
  });
}

const short = (text: string): string =>
  `HTTP/1.1 200 OK\r\ncontent-length: ${text.length}\r\n\r\n${text}`;
const echo = (request: string): string => short(request.split(" ")[1] ?? "");

test("connections are kept and used again, and what exceeds their number waits in order", async (t) => {
  const target = await upstream(t, echo);
  const pool = poolTo(target, { maxConnections: 2 });
  const paths = Array.from({ length: 20 }, (_, at) => `/${at}`);
  const results = await Promise.all(paths.map((path) => send(pool, path)));
  assert.deepEqual(
    results.map(({ body }) => body),
    paths,
  );
  assert.equal(target.sockets.length, 2);
  assert.equal((await send(pool, "/again")).body, "/again");
  assert.equal(target.sockets.length, 2);
  await pool.close();
});

test("bytes behind an answer end the connection and are never taken for the next answer", async (t) => {
  const target = await upstream(t, (request) =>
    request.includes("/first") ? `${short("one")}${short("smuggled")}` : echo(request),
  );
  const pool = poolTo(target, { maxConnections: 1 });
  const [first, second] = await Promise.all([send(pool, "/first"), send(pool, "/second")]);
  assert.equal(first.body, "one");
  assert.equal(second.body, "/second");
  assert.equal(target.sockets.length, 2);
  await pool.close();
});

test("what an upstream says unasked on an idle connection ends it", async (t) => {
  const target = await upstream(t, echo);
  const pool = poolTo(target, { maxConnections: 1 });
  await send(pool, "/first");
  const [socket] = target.sockets;
  assert.ok(socket !== undefined);
  const closed = once(socket, "close");
  socket.write(short("smuggled"));
  await closed;
  assert.equal((await send(pool, "/second")).body, "/second");
  await pool.close();
});

test("what is said through the control of an answer that is over does not meet the next one", async (t) => {
  const target = await upstream(t, echo);
  const pool = poolTo(target, { maxConnections: 1 });
  const { control } = await send(pool, "/first");
  const second = send(pool, "/second");
  control?.pause();
  control?.abort(new Error("late"));
  assert.equal((await second).body, "/second");
  assert.equal(target.sockets.length, 1);
  await pool.close();
});

test("a request aborted before it is written never is, and its connection serves the next", async (t) => {
  const target = await upstream(t, echo);
  const pool = poolTo(target, { maxConnections: 1 });
  const gone = send(pool, "/gone", {
    onRequestStart: (control) => control.abort(new Error("gone")),
  });
  const next = send(pool, "/next");
  await assert.rejects(gone, /gone/);
  assert.equal((await next).body, "/next");
  assert.deepEqual(target.requests, ["/next"]);
  assert.equal(target.sockets.length, 1);
  await pool.close();
});

test("a failed attempt to connect fails one request; the others find another", async (t) => {
  const target = await upstream(t, echo);
  const pool = poolTo(target, { maxConnections: 1, failures: [new Error("refused")] });
  const first = send(pool, "/first");
  const second = send(pool, "/second");
  await assert.rejects(first, /refused/);
  assert.equal((await second).body, "/second");
  await pool.close();
});

test("where one connection is opened for everyone who waits, its failure is everyone's, and the next request tries again", async (t) => {
  const target = await upstream(t, echo);
  const attempt = Promise.withResolvers<Connected>();
  let attempts = 0;
  const pool = new UpstreamPool({
    host: "orders",
    maxConnections: 2,
    mayBeH2: true,
    now: () => performance.now(),
    connect: async () => {
      attempts += 1;
      if (attempts === 1) return attempt.promise;
      const socket = connect({ port: target.port, host: "127.0.0.1" });
      await once(socket, "connect");
      return { socket };
    },
  });
  const waiting = Array.from({ length: 100 }, (_, at) => send(pool, `/${at}`));
  const settled = Promise.allSettled(waiting);
  attempt.reject(new Error("it did not answer in time"));
  for (const one of await settled) assert.equal(one.status, "rejected");
  assert.equal(attempts, 1);
  assert.equal((await send(pool, "/next")).body, "/next");
  await pool.close();
});

test("a connection that breaks in the middle fails its request, and what waits gets another", async (t) => {
  const target = await upstream(t, (request, socket) => {
    if (!request.includes("/broken")) return echo(request);
    socket.end("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    return undefined;
  });
  const pool = poolTo(target, { maxConnections: 1 });
  const broken = send(pool, "/broken");
  const waiting = send(pool, "/waiting");
  await assert.rejects(broken, { code: "UpstreamUnreachable" });
  assert.equal((await waiting).body, "/waiting");
  await pool.close();
});

test("an idle connection is given up before the server said it would close it, and a silent answer after its patience", async (t) => {
  const target = await upstream(t, (request) =>
    request.includes("/silent")
      ? undefined
      : "HTTP/1.1 200 OK\r\nkeep-alive: timeout=5\r\ncontent-length: 0\r\n\r\n",
  );
  let now = 0;
  const pool = poolTo(target, { now: () => now, maxConnections: 1 });
  await send(pool, "/first");
  const [socket] = target.sockets;
  assert.ok(socket !== undefined);
  now += 2_999;
  pool.check();
  await send(pool, "/second");
  assert.equal(target.sockets.length, 1);
  now += 3_000;
  const closed = once(socket, "close");
  pool.check();
  await closed;
  const silent = send(pool, "/silent");
  while (!target.requests.includes("/silent"))
    await new Promise((resolve) => setImmediate(resolve));
  now += 600_000;
  pool.check();
  await assert.rejects(silent, { code: "UpstreamUnreachable", message: /did not begin to answer/ });
  await pool.close();
});

test("closing waits for what is under way, destroying does not", async (t) => {
  const held: Socket[] = [];
  const target = await upstream(t, (_request, socket) => {
    held.push(socket);
    return undefined;
  });
  const pool = poolTo(target);
  const slow = send(pool, "/slow");
  const never = send(pool, "/never");
  never.catch(() => undefined);
  while (held.length < 2) await new Promise((resolve) => setImmediate(resolve));
  let isClosed = false;
  const closed = pool.close().then(() => (isClosed = true));
  held[0]?.write(short("done"));
  assert.equal((await slow).body, "done");
  assert.ok(!isClosed);
  pool.destroy(new ProxyError("GrantEnded", "the endpoint changed"));
  await assert.rejects(never, { code: "GrantEnded" });
  await closed;
});

test("what would end a line early cannot be written", async (t) => {
  const target = await upstream(t, echo);
  const pool = poolTo(target, { maxConnections: 1 });
  await assert.rejects(send(pool, "/a b"), { code: "MalformedRequest" });
  await assert.rejects(send(pool, "/a\r\nx: y"), { code: "MalformedRequest" });
  await assert.rejects(
    new Promise((_, reject) =>
      pool.dispatch(
        { method: "GET", path: "/", headers: ["authorization", "Bearer x\r\ny: z"], body: null },
        {
          onRequestStart: () => undefined,
          onResponseStart: () => undefined,
          onResponseData: () => undefined,
          onResponseEnd: () => undefined,
          onResponseError: (_control, error) => reject(error),
        },
      ),
    ),
    { code: "MalformedRequest" },
  );
  assert.deepEqual(target.requests, []);
  await pool.close();
});
