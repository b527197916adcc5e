// The server that HTTP clients are tested against: HTTP/1.1 and HTTP/2 over TLS, with everything in its answers that a client may stumble over.
import { createHash } from "node:crypto";
import { createSecureServer } from "node:http2";
import type { SecureServerOptions } from "node:http2";
import { gzipSync } from "node:zlib";
import { bodyOf, json, send, type Request, type Response } from "./answers.ts";
import { serveGit } from "./git-backend.ts";
import { messages } from "./messages.ts";

export type Handler = (request: Request, response: Response, url: URL) => void | Promise<void>;

export interface OriginOptions {
  readonly address: string;
  readonly port: number;
  readonly tls: Pick<SecureServerOptions, "key" | "cert">;
  /** What `Authorization: Bearer` has to say at /private. */
  readonly token: string;
  /** What `x-api-key` has to say at /v1/messages. */
  readonly messagesKey: string;
  /** The folder whose repositories are served under /git/. */
  readonly repositories: string;
  /** Of the user `agent`, who may read and write them. */
  readonly gitPassword: string;
}

export interface Origin {
  close(): Promise<void>;
}

const megabyte = 1024 * 1024;
/** Long enough to be seen by a client that waits for the first byte, short enough to be played often. */
const slowMs = 100;
/** Written so that a client's own limit (Node's is 16 KiB of headers) is not reached. */
const largeHeaderBytes = 10 * 1024;

/** The same bytes at every run, and no two pages of them alike. */
export function pattern(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += 4)
    bytes.writeUInt32LE(Math.imul(at, 2_654_435_761) >>> 0, at);
  return bytes;
}

export async function startOrigin(options: OriginOptions): Promise<Origin> {
  const routes = originRoutes(options);
  const server = createSecureServer({ ...options.tls, allowHTTP1: true });
  const serve = (request: Request, response: Response): void => {
    void handle(routes, request, response);
  };
  server.on("request", serve);
  server.on("checkContinue", (request: Request, response: Response) => {
    if (!request.url.startsWith("/too-large")) response.writeContinue();
    serve(request, response);
  });
  const sessions = new Set<{ destroy(): void }>();
  const kept = (session: {
    destroy(): void;
    once(event: "close", left: () => void): unknown;
  }): void => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
  };
  server.on("session", kept);
  server.on("secureConnection", kept);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.address, () => resolve());
  });
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const session of sessions) session.destroy();
      }),
  };
}

async function handle(
  routes: ReadonlyMap<string, Handler>,
  request: Request,
  response: Response,
): Promise<void> {
  request.on("error", () => undefined);
  response.on("error", () => undefined);
  const url = new URL(request.url, "https://origin.test");
  const [, first = ""] = url.pathname.split("/");
  const handler = routes.get(first) ?? notFound;
  try {
    await handler(request, response, url);
  } catch {
    // The client has left, or was meant to lose its connection.
    response.stream?.destroy?.();
  }
}

function originRoutes(options: OriginOptions): ReadonlyMap<string, Handler> {
  const waiting = new Map<string, () => void>();
  return new Map<string, Handler>([
    [
      "json",
      (_request, response, url) => json(response, 200, { hello: "wörld", query: url.search }),
    ],
    ["echo", echo],
    ["mirror", mirror],
    ["seen", seen],
    [
      "big",
      (_request, response) => send(response, 200, "application/octet-stream", pattern(megabyte)),
    ],
    ["chunks", chunks],
    ["gzip", gzip],
    ["events", (request, response, url) => events(waiting, request, response, url)],
    ["release", (_request, response, url) => release(waiting, response, url)],
    ["redirect", redirect],
    ["status", status],
    ["etag", etag],
    ["range", range],
    ["trailers", trailers],
    ["too-large", (_request, response) => json(response, 413, { error: "too large" })],
    ["slow", slow],
    ["never", never],
    ["cut", cut],
    ["cookies", cookies],
    [
      "large",
      (_request, response) => json(response, 200, {}, { "x-large": "l".repeat(largeHeaderBytes) }),
    ],
    ["private", (request, response) => privately(options.token, request, response)],
    ["v1", (request, response) => messages(options.messagesKey, request, response)],
    ["git", (request, response, url) => guardedGit(options, request, response, url)],
  ]);
}

function notFound(_request: Request, response: Response): void {
  json(response, 404, { error: "nothing is here" });
}

const digest = (bytes: Buffer): string =>
  createHash("sha256").update(bytes).digest("hex").slice(0, 16);

/** What was asked, word by word, and what came with it. */
async function echo(request: Request, response: Response): Promise<void> {
  const body = await bodyOf(request);
  json(response, 200, {
    method: request.method,
    target: request.url,
    type: request.headers["content-type"] ?? null,
    length: body.length,
    digest: digest(body),
  });
}

async function mirror(request: Request, response: Response): Promise<void> {
  const body = await bodyOf(request);
  send(response, 200, request.headers["content-type"] ?? "application/octet-stream", body);
}

/** Of one hop or of one version of HTTP: not the agent's words. */
const hop = new Set([
  "connection",
  "keep-alive",
  "te",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
  "host",
]);
/** The agent's own and the lease's differ, as they should; /private tells whether the right one came. */
const credential = "authorization";

/** The headers as they arrived, by name. */
function seen(request: Request, response: Response): void {
  const names = Object.keys(request.headers).filter(
    (name) => !name.startsWith(":") && !hop.has(name) && name !== credential,
  );
  json(response, 200, {
    authority: request.headers[":authority"] ?? request.headers.host,
    headers: Object.fromEntries(names.toSorted().map((name) => [name, request.headers[name]])),
  });
}

async function chunks(_request: Request, response: Response): Promise<void> {
  response.writeHead(200, { "content-type": "application/octet-stream" });
  const whole = pattern(512 * 1024);
  for (let at = 0; at < whole.length; at += 20_000) {
    if (!response.write(whole.subarray(at, at + 20_000)))
      await new Promise((resolve) => response.once("drain", () => resolve(undefined)));
  }
  response.end();
}

function gzip(request: Request, response: Response): void {
  const text = Buffer.from("the same words again and again. ".repeat(2_000));
  const zipped = String(request.headers["accept-encoding"]).includes("gzip");
  send(response, 200, "text/plain", zipped ? gzipSync(text) : text, {
    vary: "accept-encoding",
    ...(zipped ? { "content-encoding": "gzip" } : {}),
  });
}

/** Sends the first event at once, and the others only after somebody who has read it asks for them. */
async function events(
  waiting: Map<string, () => void>,
  request: Request,
  response: Response,
  url: URL,
): Promise<void> {
  const id = url.searchParams.get("id") ?? "";
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  response.write("event: first\ndata: 0\n\n");
  await new Promise<void>((resolve) => {
    waiting.set(id, resolve);
    request.once("close", () => resolve());
  });
  waiting.delete(id);
  for (let at = 1; at < 5; at += 1) response.write(`data: ${at}\ndata: two lines, é\n\n`);
  response.end("data: [DONE]\n\n");
}

function release(waiting: Map<string, () => void>, response: Response, url: URL): void {
  const go = waiting.get(url.searchParams.get("id") ?? "");
  go?.();
  response.writeHead(go === undefined ? 404 : 204).end();
}

/** /redirect/3 leads over /redirect/2 to /json; /redirect/same keeps method and body; /redirect/away names another host. */
async function redirect(request: Request, response: Response, url: URL): Promise<void> {
  await bodyOf(request);
  const [, , where = ""] = url.pathname.split("/");
  const [code, location] =
    where === "same"
      ? [307, "/echo?kept=1"]
      : where === "away"
        ? [302, "https://elsewhere.example.test/there?x=1"]
        : [302, Number(where) > 1 ? `/redirect/${Number(where) - 1}` : "/json?redirected=1"];
  json(response, code, {}, { location });
}

function status(_request: Request, response: Response, url: URL): void {
  const code = Number(url.pathname.split("/")[2]);
  const more = code === 429 || code === 503 ? { "retry-after": "7" } : {};
  if (code === 204 || code === 304) response.writeHead(code, more).end();
  else json(response, code, { status: code, message: "as asked" }, more);
}

function etag(request: Request, response: Response): void {
  const tag = '"v1-é"'.replace("é", "e");
  if (request.headers["if-none-match"] === tag) response.writeHead(304, { etag: tag }).end();
  else
    json(
      response,
      200,
      { fresh: true },
      { etag: tag, "last-modified": "Mon, 02 Nov 2026 10:00:00 GMT" },
    );
}

function range(request: Request, response: Response): void {
  const whole = pattern(64 * 1024);
  const [, from = "", to = ""] = /^bytes=(\d+)-(\d*)$/.exec(String(request.headers.range)) ?? [];
  const type = "application/octet-stream";
  if (from === "") send(response, 200, type, whole, { "accept-ranges": "bytes" });
  else if (Number(from) >= whole.length)
    send(response, 416, type, Buffer.alloc(0), { "content-range": `bytes */${whole.length}` });
  else {
    const end = to === "" ? whole.length : Number(to) + 1;
    const content = `bytes ${from}-${end - 1}/${whole.length}`;
    send(response, 206, type, whole.subarray(Number(from), end), { "content-range": content });
  }
}

function trailers(_request: Request, response: Response): void {
  response.writeHead(200, { "content-type": "text/plain", trailer: "x-digest" });
  response.write("a body and ");
  response.addTrailers({ "x-digest": "sum-of-it" });
  response.end("then a trailer");
}

async function slow(_request: Request, response: Response): Promise<void> {
  await wait(slowMs);
  response.writeHead(200, { "content-type": "text/plain" });
  response.write("late ");
  await wait(slowMs);
  response.end("but whole");
}

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Answers nothing; the client has to be the one that gives up. */
function never(request: Request): Promise<void> {
  return new Promise((resolve) => request.once("close", () => resolve()));
}

/** Promises a thousand bytes and is gone after half of them. */
function cut(request: Request, response: Response): void {
  response.writeHead(200, { "content-type": "text/plain", "content-length": 1_000 });
  response.write("x".repeat(500), () => {
    if (request.httpVersionMajor === 2) response.stream.close(2);
    else request.socket.destroy();
  });
}

function cookies(request: Request, response: Response, url: URL): void {
  if (!url.pathname.endsWith("/set")) {
    json(response, 200, { cookie: request.headers.cookie ?? null });
    return;
  }
  json(
    response,
    200,
    {},
    {
      "set-cookie": ["a=1; Path=/; HttpOnly", "b=two words; Path=/cookies; Max-Age=600"],
    },
  );
}

function privately(token: string, request: Request, response: Response): void {
  const known = request.headers.authorization === `Bearer ${token}`;
  json(response, known ? 200 : 401, { known }, known ? {} : { "www-authenticate": "Bearer" });
}

async function guardedGit(
  { repositories, gitPassword }: OriginOptions,
  request: Request,
  response: Response,
  url: URL,
): Promise<void> {
  const basic = Buffer.from(`agent:${gitPassword}`).toString("base64");
  if (request.headers.authorization === `Basic ${basic}`)
    await serveGit(repositories, request, response, url);
  else json(response, 401, {}, { "www-authenticate": 'Basic realm="git"' });
}
