// An OpenAI-compatible server that answers from a script: the real wire format, the real key check, and a record of what it was asked.
import { createServer as createHttpServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { setTimeout as wait } from "node:timers/promises";

import { agentStep, isRecord } from "./agent.ts";
import { agentRequest, answerOf, chunks, completion } from "./chat.ts";
import type { Answer, ChatRequest } from "./chat.ts";
import { embeddings } from "./embeddings.ts";
import type { EmbeddingsRequest } from "./embeddings.ts";
import { otherApi, promptOf } from "./other-apis.ts";
import type { Said } from "./other-apis.ts";
import { agentRequestOf, messagesOf, respond } from "./responses.ts";
import { stepFor } from "./script.ts";
import type { Script, Step } from "./script.ts";

export interface OpenAiServerOptions {
  readonly script: Script;
  /** The key a request must carry as `Authorization: Bearer`. */
  readonly apiKey: string;
  readonly tls?: { readonly key: string; readonly cert: string };
  readonly host?: string;
  /** 0 takes a free one. */
  readonly port?: number;
}

export interface RecordedRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: unknown;
  /** True when the client went away before the answer was complete. */
  aborted: boolean;
}

export interface OpenAiServer {
  /** With the path `/v1`, as `OPENAI_BASE_URL` wants it. */
  readonly url: string;
  readonly port: number;
  /** The newest requests, oldest first. */
  readonly requests: readonly RecordedRequest[];
  close(): Promise<void>;
}

/** So that a server left running under load keeps a bounded memory. */
const requestsKept = 1_000;
/** The API itself takes images in its bodies; this is far above what a script needs. */
const bodyLimit = 8 * 1024 * 1024;

export async function startOpenAiServer(options: OpenAiServerOptions): Promise<OpenAiServer> {
  const requests: RecordedRequest[] = [];
  let sequence = 0;
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    sequence++;
    answer(options, requests, sequence, request, response).catch((error: unknown) => {
      response.destroy(error instanceof Error ? error : new Error(String(error)));
    });
  };
  const server: Server =
    options.tls === undefined
      ? createHttpServer(listener)
      : createHttpsServer(options.tls, listener);
  const host = options.host ?? "127.0.0.1";
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port ?? 0, host, resolve);
  });
  const address = server.address();
  if (address === null || typeof address === "string")
    throw new Error("the server has no TCP address");
  const scheme = options.tls === undefined ? "http" : "https";
  return {
    url: `${scheme}://${host}:${address.port}/v1`,
    port: address.port,
    requests,
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

async function answer(
  options: OpenAiServerOptions,
  requests: RecordedRequest[],
  sequence: number,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const raw = await readBody(request);
  const path = (request.url ?? "/").split("?", 1)[0] ?? "/";
  const body = await parseBody(raw, request.headers["content-type"]);
  const recorded: RecordedRequest = {
    method: request.method ?? "",
    path,
    headers: request.headers,
    body,
    aborted: false,
  };
  requests.push(recorded);
  if (requests.length > requestsKept) requests.shift();
  response.once("close", () => {
    recorded.aborted = !response.writableFinished;
  });
  response.setHeader("x-request-id", `req_${sequence}`);
  response.setHeader("openai-version", "2020-10-01");
  const { authorization, "api-key": azureKey } = request.headers;
  if (authorization !== `Bearer ${options.apiKey}` && azureKey !== options.apiKey) {
    sendError(
      response,
      401,
      "Incorrect API key provided. You can find your API key in your account settings.",
      "invalid_request_error",
      "invalid_api_key",
    );
    return;
  }
  const [, deployment, local = path] = azure.exec(path) ?? [];
  await route(
    options.script,
    sequence,
    `${request.method} ${local.startsWith("/v1/") || local.startsWith("/api/") ? local : `/v1${local}`}`,
    deployment !== undefined && isRecord(body) ? { ...body, model: deployment } : body,
    response,
  );
}

/** Where Azure has the same API. */
const azure = /^\/openai(?:\/deployments\/([^/]+))?(\/.*)$/;

async function route(
  script: Script,
  sequence: number,
  target: string,
  body: unknown,
  response: ServerResponse,
): Promise<void> {
  if (target === "GET /v1/models") {
    sendJson(response, 200, { object: "list", data: (script.models ?? []).map(modelObject) });
    return;
  }
  if (target.startsWith("GET /v1/models/")) {
    const model = decodeURIComponent(target.slice("GET /v1/models/".length));
    if (modelExists(script, model, response)) sendJson(response, 200, modelObject(model));
    return;
  }
  const asked = isRecord(body) ? body : {};
  const step = stepFor(script, String(asked["model"]), [
    { role: "user", content: promptOf(asked) },
  ]);
  const said = otherApi({ target, body: asked, step, sequence });
  if (said !== undefined) await say(said, step, response);
  else if (modelled.has(target)) await withModel(script, sequence, target, body, response);
  else sendError(response, 404, `Invalid URL (${target})`, "invalid_request_error", null);
}

const modelled: ReadonlySet<string> = new Set([
  "POST /v1/chat/completions",
  "POST /v1/embeddings",
  "POST /v1/responses",
]);

async function withModel(
  script: Script,
  sequence: number,
  target: string,
  body: unknown,
  response: ServerResponse,
): Promise<void> {
  if (!isRecord(body) || typeof body["model"] !== "string") {
    sendError(response, 400, "you must provide a model parameter", "invalid_request_error", null);
    return;
  }
  if (!modelExists(script, body["model"], response)) return;
  // What the SDKs under test write; what else came is answered as it comes.
  if (target === "POST /v1/embeddings")
    sendJson(response, 200, embeddings(body as unknown as EmbeddingsRequest));
  else if (target === "POST /v1/responses") await responses(script, sequence, body, response);
  else await chat(script, sequence, body as unknown as ChatRequest, response);
}

async function responses(
  script: Script,
  sequence: number,
  body: Record<string, unknown>,
  response: ServerResponse,
): Promise<void> {
  const found = stepFor(script, String(body["model"]), messagesOf(body));
  const step = found?.plays === "agent" ? agentStep(agentRequestOf(body)) : found;
  if (await isRefused(step, response)) return;
  const { whole, events } = respond(step ?? {}, body, sequence);
  if (body["stream"] === true) await sendEvents(events, step, response, true);
  else sendJson(response, 200, whole);
}

async function chat(
  script: Script,
  sequence: number,
  request: ChatRequest,
  response: ServerResponse,
): Promise<void> {
  if (!Array.isArray(request.messages) || request.messages.length === 0) {
    sendError(
      response,
      400,
      "Missing required parameter: 'messages'.",
      "invalid_request_error",
      "missing_required_parameter",
    );
    return;
  }
  const found = stepFor(script, request.model, request.messages);
  const step = found?.plays === "agent" ? agentStep(agentRequest(request)) : found;
  if (await isRefused(step, response)) return;
  const result = answerOf(step ?? {}, request, sequence);
  if (request.stream === true)
    await stream(step ?? {}, result, request.stream_options?.include_usage === true, response);
  else sendJson(response, 200, completion(result));
}

/** Waits as the step says; true when it says an error, or there is none. */
async function isRefused(step: Step | undefined, response: ServerResponse): Promise<boolean> {
  if (step === undefined) {
    sendError(
      response,
      400,
      "The script has no step for the last message.",
      "invalid_request_error",
      "no_step",
    );
    return true;
  }
  if (step.delayMs !== undefined) await wait(step.delayMs);
  if (step.error === undefined) return false;
  const { status, message, type, code } = step.error;
  sendError(response, status, message, type, code);
  return true;
}

async function say(said: Said, step: Step | undefined, response: ServerResponse): Promise<void> {
  if ("json" in said) sendJson(response, 200, said.json);
  else if ("events" in said) await sendEvents(said.events, step, response, false);
  else if ("lines" in said) {
    response.writeHead(200, { "content-type": "application/x-ndjson" });
    for (const line of said.lines) response.write(`${JSON.stringify(line)}\n`);
    response.end();
  } else response.writeHead(200, { "content-type": said.type }).end(said.body);
}

/** @param isNamed by their type, as the responses API does; the others end with `[DONE]` */
async function sendEvents(
  events: readonly unknown[],
  step: Step | undefined,
  response: ServerResponse,
  isNamed: boolean,
): Promise<void> {
  response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
  for (const event of events) {
    if (response.destroyed) return;
    if (step?.gapMs !== undefined) await wait(step.gapMs);
    const name = isNamed && isRecord(event) ? `event: ${String(event["type"])}\n` : "";
    response.write(`${name}data: ${JSON.stringify(event)}\n\n`);
  }
  response.end(isNamed ? "" : "data: [DONE]\n\n");
}

async function stream(
  step: Step,
  result: Answer,
  includeUsage: boolean,
  response: ServerResponse,
): Promise<void> {
  response.writeHead(200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
  });
  let sent = 0;
  for (const chunk of chunks(result, includeUsage)) {
    if (response.destroyed) return;
    if (sent > 0 && step.gapMs !== undefined) await wait(step.gapMs);
    if (sent === step.breakAfterChunks) {
      response.socket?.resetAndDestroy();
      return;
    }
    response.write(`data: ${JSON.stringify(chunk)}\n\n`);
    sent++;
  }
  response.end("data: [DONE]\n\n");
}

function modelObject(id: string): unknown {
  return { id, object: "model", created: 1_700_000_000, owned_by: "scripted" };
}

function modelExists(script: Script, model: string, response: ServerResponse): boolean {
  if (script.models === undefined || script.models.includes(model)) return true;
  sendError(
    response,
    404,
    `The model \`${model}\` does not exist or you do not have access to it.`,
    "invalid_request_error",
    "model_not_found",
  );
  return false;
}

function sendError(
  response: ServerResponse,
  status: number,
  message: string,
  type: string,
  code: string | null,
): void {
  sendJson(response, status, { error: { message, type, param: null, code } });
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const text = JSON.stringify(value);
  response
    .writeHead(status, {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(text),
    })
    .end(text);
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > bodyLimit) throw new Error(`the request body is over ${bodyLimit} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** JSON, or the fields of a form. */
async function parseBody(raw: Buffer, type = ""): Promise<unknown> {
  if (raw.length === 0) return undefined;
  if (!type.startsWith("multipart/")) return parseJson(raw);
  const form = await new Response(raw, { headers: { "content-type": type } }).formData();
  return Object.fromEntries(
    [...form].map(([name, value]) => [name, typeof value === "string" ? value : value.name]),
  );
}

function parseJson(raw: Buffer): unknown {
  try {
    return JSON.parse(raw.toString("utf8"));
  } catch {
    return null;
  }
}
