// A request to a language model -> facts: operation, model, messages, tools offered and called, limits. What differs between
// providers is behind provider.ts.
import { printable } from "../describe.ts";
import type { Access, HttpFacts, HttpOperation, LlmFacts, LlmOperation } from "../operation.ts";
import { parseForm } from "./form.ts";
import { parseStrict } from "./json.ts";
import type { LlmProvider, Route } from "./provider.ts";
import { NotUnderstood, startReading } from "./reading.ts";
import type { Reading } from "./reading.ts";

export interface LlmRequest {
  readonly http: HttpOperation;
  /** The whole body, content-encoding removed; absent or empty for a request without one. */
  readonly body?: Uint8Array | string;
  /** The Content-Type as it came: forms say in it where their parts end. */
  readonly contentType?: string;
  /** Names of its headers, lower case. */
  readonly headers?: readonly string[];
  /** Path of the connection's endpoint without a slash at the end: `/v1`, or empty. */
  readonly basePath: string;
}

/** Longest summary of an operation, for events and approvers. */
const maxSummaryLength = 300;

export function recogniseLlm(provider: LlmProvider, request: LlmRequest): LlmOperation {
  const reading = startReading();
  let operation = "other";
  const { unrecognised, ambiguous } = request.http;
  // The path says which operation it is, so it always has to have one reading.
  let problem = unrecognised ?? ambiguous?.path ?? ambiguous?.query ?? steered(request.headers);
  try {
    if (problem === undefined) {
      const route = routeOf(provider, request);
      operation = route.operation;
      route.read(reading, bodyOf(route, request));
      if (route.body === "form" && Object.keys(reading.members).length > 0)
        throw new NotUnderstood("the form names another model than the path");
    }
  } catch (error) {
    if (!(error instanceof NotUnderstood)) throw error;
    problem = error.message;
  }
  return llmOperation(request.http.facts, operation, reading, problem);
}

/** Headers by which gateways (Portkey, Helicone, LiteLLM, Cloudflare) take another model, provider or server than the body names. */
const steering =
  /^(?:x-portkey-(?:config|provider|virtual-key|custom-host)|helicone-(?:target-.*|fallbacks|model-override|.*api-base)|x-litellm-(?:model|api-base)|cf-aig-(?:.*endpoint|fallback.*))$/;

function steered(headers: readonly string[] = []): string | undefined {
  const found = headers.find((name) => steering.test(name));
  return found && `the header ${found} makes some gateways take another model than the body's`;
}

function routeOf(provider: LlmProvider, { http, basePath }: LlmRequest): Route {
  const { method, path } = http.facts;
  const route = path.startsWith(`${basePath}/`)
    ? provider.route({ http: http.facts, path: path.slice(basePath.length) })
    : undefined;
  if (route !== undefined) return route;
  throw new NotUnderstood(
    `${method} ${printable(path)} is no operation of this API that rules know`,
  );
}

function bodyOf(route: Route, { http, body, contentType }: LlmRequest): unknown {
  switch (route.body) {
    case "any":
      return undefined;
    case "none":
      if (body !== undefined && body.length > 0)
        throw new NotUnderstood(`a request for ${route.operation} has a body`);
      return undefined;
    case "json":
      return jsonBody(http.facts.contentType, body);
    case "form": {
      const form = parseForm(contentType ?? "", bytesOf(body ?? ""));
      if ("problem" in form) throw new NotUnderstood(form.problem);
      return form.parts;
    }
    default:
      return route.body satisfies never;
  }
}

function bytesOf(body: Uint8Array | string): Uint8Array {
  return typeof body === "string" ? new TextEncoder().encode(body) : body;
}

function jsonBody(contentType: string, body: Uint8Array | string | undefined): unknown {
  if (contentType !== "application/json")
    throw new NotUnderstood("the body is not sent as application/json");
  const parsed = parseStrict(body ?? "");
  if ("problem" in parsed) throw new NotUnderstood(parsed.problem);
  return parsed.value;
}

/** @param problem why it is not understood */
export function llmOperation(
  http: HttpFacts,
  operation: string,
  reading: Reading,
  problem: string | undefined,
): LlmOperation {
  const { model, members } = reading;
  const facts = factsOf(operation, reading);
  const { maxOutputTokens } = facts;
  const request: Access = {
    kind: "llm",
    operation,
    ...(model !== "" && { model }),
    ...(maxOutputTokens !== null && { maxOutputTokens }),
  };
  return {
    kind: "llm",
    summary: printable(model === "" ? operation : `${operation} ${model}`).slice(
      0,
      maxSummaryLength,
    ),
    accesses: [request, ...facts.tools.map((tool): Access => ({ kind: "tool", tool }))],
    facts,
    http,
    ...(Object.keys(members).length > 0 && { members }),
    ...(reading.answers > 1 && { answers: reading.answers }),
    ...(reading.requests.length > 0 && { requests: reading.requests }),
    ...(problem !== undefined && { unrecognised: problem }),
  };
}

function factsOf(operation: string, reading: Reading): LlmFacts {
  const { tools, offered, called, answers, deployment: _path, members: _set, ...rest } = reading;
  const { requests: _requests, ...read } = rest;
  const { promptsUnreadable, modelUnsaid, toolsUnreadable, maxOutputTokens, ...known } = read;
  return {
    operation,
    ...known,
    maxOutputTokens:
      maxOutputTokens === null
        ? null
        : Math.min(maxOutputTokens * answers, Number.MAX_SAFE_INTEGER),
    tools: [...tools],
    toolsOffered: [...offered],
    toolsCalled: [...called],
    ...(promptsUnreadable && { promptsUnreadable }),
    ...(modelUnsaid && { modelUnsaid }),
    ...(toolsUnreadable && { toolsUnreadable }),
  };
}
