// Speaks to the operator: HTTPS with its CA pinned, or plain HTTP over a unix socket or loopback in local mode; every request carries a fresh proof.
import type { Agent, ClientRequest, IncomingMessage, RequestOptions } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { jwtTokenType, tokenExchangeGrantType, type TokenAnswer } from "../../contract/control.ts";
import { OperatorRefused, OperatorUnavailable, parseTokenAnswer, refusal } from "./answers.ts";
import { Agent as HttpAgent, request as httpRequest } from "../net/node-http.ts";
import type { ProofKey } from "./keys.ts";

/** A bundle of the largest policies we admit is under 1 MiB; beside it stands a lease. */
const maxAnswerBytes = 4 * 1024 * 1024;

/** An exchange waits for at most one TokenReview; a request that hangs longer is better tried again. */
export const callTimeoutMs = 5_000;

/** Calls of one proxy at a time: first uses of its connections, event batches, the view. */
const maxSockets = 8;

export interface OperatorAddress {
  /** `https://host[:port]`, `http://127.0.0.1:port`, or with `socketPath` any `http://localhost`. */
  readonly url: string;
  readonly socketPath?: string;
  /** PEM; the only CA that is trusted for the operator. */
  readonly ca?: string;
  /** Name in the operator's certificate when the url holds an address. */
  readonly serverName?: string;
}

export interface OperatorClientOptions {
  readonly address: OperatorAddress;
  readonly key: ProofKey;
  /** Reads the projected token; called for every exchange, because the kubelet rotates the file. */
  readonly readToken: (signal: AbortSignal) => Promise<string>;
}

interface Call {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly grant?: string;
  readonly contentType?: string;
  readonly body?: readonly Buffer[];
  /** Otherwise `callTimeoutMs`. */
  readonly timeoutMs?: number;
}

/** The proxy's side of contract/control.ts. `close` cuts what is open. */
export class OperatorClient {
  readonly #key: ProofKey;
  readonly #readToken: (signal: AbortSignal) => Promise<string>;
  readonly #origin: string;
  readonly #send: (options: RequestOptions) => ClientRequest;
  readonly #agent: Agent;
  #nonce: string | undefined;

  constructor(options: OperatorClientOptions) {
    this.#key = options.key;
    this.#readToken = options.readToken;
    const url = new URL(options.address.url);
    this.#origin = url.origin;
    const { agent, send } = transport(url, options.address);
    this.#agent = agent;
    this.#send = send;
  }

  /** For messages: which operator this is. */
  get origin(): string {
    return this.#origin;
  }

  /** RFC 8693. Throws OperatorRefused or OperatorUnavailable. */
  async exchange(audience: string | undefined, signal: AbortSignal): Promise<TokenAnswer> {
    const token = await this.#readToken(signal);
    const form = new URLSearchParams({
      grant_type: tokenExchangeGrantType,
      subject_token: token.trim(),
      subject_token_type: jwtTokenType,
    });
    if (audience !== undefined) form.set("audience", audience);
    const body = Buffer.from(form.toString());
    const call: Call = {
      method: "POST",
      path: "/v1/token",
      contentType: "application/x-www-form-urlencoded",
      body: [body],
    };
    try {
      return parseTokenAnswer(await this.#json(call, signal));
    } finally {
      body.fill(0); // it held the pod's token
    }
  }

  async get(path: string, grant: string, signal: AbortSignal): Promise<unknown> {
    return await this.#json({ method: "GET", path, grant }, signal);
  }

  async post(
    path: string,
    body: unknown,
    grant: string,
    signal: AbortSignal,
    timeoutMs = callTimeoutMs,
  ): Promise<unknown> {
    return await this.#json(
      {
        method: "POST",
        path,
        grant,
        contentType: "application/json",
        body: [Buffer.from(JSON.stringify(body))],
        timeoutMs,
      },
      signal,
    );
  }

  /** As `post`, for JSON lines in any pieces. */
  async postLines(
    path: string,
    body: readonly Buffer[],
    grant: string,
    signal: AbortSignal,
    timeoutMs = callTimeoutMs,
  ): Promise<unknown> {
    return await this.#json(
      { method: "POST", path, grant, contentType: "application/x-ndjson", body, timeoutMs },
      signal,
    );
  }

  /** As `post`, for answers without content. */
  async send(path: string, body: unknown, grant: string, signal: AbortSignal): Promise<void> {
    const timeout = AbortSignal.timeout(callTimeoutMs);
    const call: Call = {
      method: "POST",
      path,
      grant,
      contentType: "application/json",
      body: [Buffer.from(JSON.stringify(body))],
    };
    await readAll(
      await this.#proven(call, AbortSignal.any([signal, timeout]), timeout),
      this.#origin,
    );
  }

  /** The body of a long answer; it ends when `signal` aborts. Throws as `exchange` does until the answer has begun. */
  async open(path: string, grant: string, signal: AbortSignal): Promise<IncomingMessage> {
    return await this.#proven(
      { method: "GET", path, grant },
      signal,
      AbortSignal.timeout(callTimeoutMs),
    );
  }

  async close(): Promise<void> {
    this.#agent.destroy();
  }

  async #json(call: Call, outer: AbortSignal): Promise<unknown> {
    const timeout = AbortSignal.timeout(call.timeoutMs ?? callTimeoutMs);
    const response = await this.#proven(call, AbortSignal.any([outer, timeout]), timeout);
    const text = await readAll(response, this.#origin);
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw new OperatorUnavailable(`${this.#origin}${call.path} did not answer with JSON`, {
        cause,
      });
    }
  }

  /** Sends with a proof, and once more when the operator wants its nonce in it or had closed the socket we reused. */
  async #proven(
    call: Call,
    signal: AbortSignal,
    headTimeout: AbortSignal,
  ): Promise<IncomingMessage> {
    let retried = { nonce: false, socket: false };
    for (;;) {
      const sentNonce = this.#nonce;
      const answer = await this.#once(call, signal, headTimeout);
      if (answer === "stale-socket") {
        if (retried.socket)
          throw new OperatorUnavailable(`${this.#origin} closes connections before it answers`);
        retried = { ...retried, socket: true };
        continue;
      }
      this.#remember(answer);
      const status = answer.statusCode ?? 0;
      if (status >= 200 && status < 300) return answer;
      const error = refusal(status, await readAll(answer, this.#origin));
      const wantsNonce =
        error instanceof OperatorRefused &&
        error.error === "use_dpop_nonce" &&
        this.#nonce !== sentNonce;
      if (!wantsNonce || retried.nonce) throw error;
      retried = { ...retried, nonce: true };
    }
  }

  async #once(
    call: Call,
    signal: AbortSignal,
    headTimeout: AbortSignal,
  ): Promise<IncomingMessage | "stale-socket"> {
    const proof = await this.#key.proof({
      method: call.method,
      url: `${this.#origin}${call.path.split("?")[0] ?? ""}`,
      ...(call.grant === undefined ? {} : { grant: call.grant }),
      ...(this.#nonce === undefined ? {} : { nonce: this.#nonce }),
    });
    const headers: Record<string, string> = { dpop: proof, accept: "application/json" };
    if (call.grant !== undefined) headers["authorization"] = `DPoP ${call.grant}`;
    if (call.contentType !== undefined) headers["content-type"] = call.contentType;
    const { body = [] } = call;
    if (call.body !== undefined)
      headers["content-length"] = String(body.reduce((sum, part) => sum + part.length, 0));
    signal.throwIfAborted();
    return await new Promise((resolve, reject) => {
      const outgoing = this.#send({ method: call.method, path: call.path, headers, signal });
      const tooSlow = (): void =>
        void outgoing.destroy(
          new OperatorUnavailable(
            `${this.#origin} did not answer within ${call.timeoutMs ?? callTimeoutMs} ms`,
          ),
        );
      headTimeout.addEventListener("abort", tooSlow, { once: true });
      outgoing.once("response", (incoming) => {
        headTimeout.removeEventListener("abort", tooSlow);
        resolve(incoming);
      });
      outgoing.once("error", (cause) => {
        headTimeout.removeEventListener("abort", tooSlow);
        if (outgoing.reusedSocket && hasCode(cause, ["ECONNRESET", "EPIPE"]))
          resolve("stale-socket");
        else if (cause instanceof OperatorUnavailable) reject(cause);
        else reject(new OperatorUnavailable(unreachable(this.#origin, cause, signal), { cause }));
      });
      for (const part of body) outgoing.write(part);
      outgoing.end();
    });
  }

  #remember(response: IncomingMessage): void {
    const nonce = response.headers["dpop-nonce"];
    if (typeof nonce === "string") this.#nonce = nonce;
  }
}

function transport(
  url: URL,
  address: OperatorAddress,
): { readonly agent: Agent; readonly send: (options: RequestOptions) => ClientRequest } {
  const pool = { keepAlive: true, maxSockets, scheduling: "lifo" } as const;
  const target = { host: url.hostname.replace(/^\[|\]$/g, ""), port: url.port };
  if (url.protocol === "https:") {
    if (address.ca === undefined)
      throw new Error(
        `operator ${url.origin}: a CA is required; trusting the system's roots would let any of them impersonate it`,
      );
    const tls = {
      ca: address.ca,
      minVersion: "TLSv1.3",
      ...(address.serverName === undefined ? {} : { servername: address.serverName }),
    } as const;
    const agent = new HttpsAgent({ ...pool, ...tls });
    return { agent, send: (options) => httpsRequest({ ...options, ...target, agent }) };
  }
  const isLocal =
    address.socketPath !== undefined || ["127.0.0.1", "[::1]", "localhost"].includes(url.hostname);
  if (url.protocol !== "http:" || !isLocal)
    throw new Error(
      `operator ${url.origin}: only https, or http on loopback and unix sockets, keep tokens to ourselves`,
    );
  const agent = new HttpAgent(pool);
  const where =
    address.socketPath === undefined
      ? target
      : { socketPath: address.socketPath, host: "localhost" };
  return { agent, send: (options) => httpRequest({ ...options, ...where, agent }) };
}

async function readAll(response: IncomingMessage, origin: string): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of response) {
      const bytes: Buffer = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk);
      size += bytes.length;
      if (size > maxAnswerBytes)
        throw new OperatorUnavailable(`${origin} answered with more than ${maxAnswerBytes} bytes`);
      chunks.push(bytes);
    }
  } catch (cause) {
    if (cause instanceof OperatorUnavailable) throw cause;
    throw new OperatorUnavailable(`the answer of ${origin} broke off`, { cause });
  }
  const whole = Buffer.concat(chunks);
  const text = whole.toString("utf8");
  // Answers hold leases. What the text is made of is the collector's; its bytes need not wait for that.
  for (const bytes of [whole, ...chunks]) bytes.fill(0);
  return text;
}

function unreachable(origin: string, cause: Error, signal: AbortSignal): string {
  if (signal.aborted) return `${origin} did not answer in time`;
  const code = "code" in cause && typeof cause.code === "string" ? cause.code : cause.message;
  return `the operator at ${origin} cannot be reached (${code})`;
}

function hasCode(error: Error, codes: readonly string[]): boolean {
  return "code" in error && typeof error.code === "string" && codes.includes(error.code);
}
