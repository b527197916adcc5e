// Speaks to the API server: JSON in, JSON out, every call bounded in time and size, watches as streams of bytes.
import { Agent, request, type Dispatcher } from "undici";
import { answeredError, KubeError, unansweredError } from "./kube-error.ts";

/** The API server itself gives up on ordinary requests after 60 s; nobody here waits that long for one object. */
export const callTimeoutMs = 30_000;

/** 500 large pods; a page beyond this is asked for again in smaller pieces. */
export const maxAnswerBytes = 64 * 1024 * 1024;

/** Error bodies are Status objects of a few hundred bytes. */
const maxErrorBytes = 64 * 1024;

/** Every watch holds one connection; the rest is shared by all calls. */
const maxConnections = 64;

const connectTimeoutMs = 10_000;

/** How to reach and convince the API server; kube-config.ts makes one from a kubeconfig or from inside a pod. */
export interface Transport {
  readonly server: string;
  /** TLS material and credentials as they are now; they change while we run (tokens rotate). */
  readonly credentials: () => Promise<Credentials>;
}

export interface Credentials {
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: Readonly<Record<string, unknown>>;
}

export interface KubeCall {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean>>;
  readonly body?: unknown;
  readonly contentType?: string;
}

/** An answer larger than `maxAnswerBytes`. */
export class AnswerTooLarge extends Error {
  constructor(call: string) {
    super(`API server answered ${call} with more than ${maxAnswerBytes} bytes`);
    this.name = "AnswerTooLarge";
  }
}

export class KubeClient {
  readonly #transport: Transport;
  readonly #userAgent: string;
  #agent: Agent | undefined;
  #agentTls = "";

  constructor(transport: Transport, userAgent: string) {
    this.#transport = transport;
    this.#userAgent = userAgent;
  }

  /** Throws KubeError, or the signal's reason when it was aborted. */
  async call(call: KubeCall, signal: AbortSignal): Promise<unknown> {
    const timed = AbortSignal.any([signal, AbortSignal.timeout(callTimeoutMs)]);
    const name = `${call.method} ${call.path}`;
    try {
      const answer = await this.#send(call, timed);
      return JSON.parse(await readBounded(answer.body, maxAnswerBytes, name));
    } catch (error) {
      throw translate(error, name, signal);
    }
  }

  /** The body of a GET, for as long as the server sends and `signal` lets it. Throws like `call` until the first byte. */
  async stream(call: KubeCall, signal: AbortSignal): Promise<AsyncIterable<Buffer>> {
    const name = `${call.method} ${call.path}`;
    try {
      return (await this.#send(call, signal)).body;
    } catch (error) {
      throw translate(error, name, signal);
    }
  }

  async close(): Promise<void> {
    await this.#agent?.destroy();
    this.#agent = undefined;
  }

  async #send(
    { method, path, query = {}, body, contentType = "application/json" }: KubeCall,
    signal: AbortSignal,
  ): Promise<Dispatcher.ResponseData> {
    const { headers, tls } = await this.#transport.credentials();
    signal.throwIfAborted();
    const parameters = new URLSearchParams(
      Object.entries(query).map(([key, value]): [string, string] => [key, String(value)]),
    ).toString();
    const answer = await request(
      `${this.#transport.server}${path}${parameters === "" ? "" : `?${parameters}`}`,
      {
        dispatcher: this.#agentFor(tls),
        method,
        headers: {
          accept: "application/json, application/jwk-set+json",
          "user-agent": this.#userAgent,
          ...headers,
          ...(body === undefined ? {} : { "content-type": contentType }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal,
        bodyTimeout: 0, // the callers' own timeouts know better: a quiet watch is healthy
        headersTimeout: callTimeoutMs,
      },
    );
    if (answer.statusCode >= 200 && answer.statusCode < 300) return answer;
    const status = parsed(await readBounded(answer.body, maxErrorBytes, path));
    const retryAfter = answer.headers["retry-after"];
    throw answeredError(
      `${method} ${path}`,
      answer.statusCode,
      status,
      typeof retryAfter === "string" ? retryAfter : undefined,
    );
  }

  /** One agent for as long as the TLS material stays; requests under way end on the old one. */
  #agentFor(tls: Readonly<Record<string, unknown>>): Agent {
    const now = JSON.stringify(tls);
    if (this.#agent !== undefined && now === this.#agentTls) return this.#agent;
    this.#agent?.close().catch(() => undefined);
    this.#agentTls = now;
    this.#agent = new Agent({
      allowH2: false,
      connections: maxConnections,
      connect: { timeout: connectTimeoutMs, ...tls },
    });
    return this.#agent;
  }
}

async function readBounded(
  body: AsyncIterable<Buffer>,
  limit: number,
  call: string,
): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > limit) throw new AnswerTooLarge(call);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return { message: text.slice(0, 200) };
  }
}

function translate(error: unknown, call: string, signal: AbortSignal): unknown {
  if (error instanceof KubeError || error instanceof AnswerTooLarge) return error;
  if (signal.aborted) return signal.reason;
  return unansweredError(call, error);
}
