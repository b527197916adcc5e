// A request to an OpenAI-compatible API -> facts: operation, model, tools offered and called, prompt text, limits.
import { printable } from "../describe.ts";
import type { Access, HttpFacts, HttpOperation, LlmFacts, LlmOperation } from "../operation.ts";
import { readChat } from "./chat.ts";
import { parseStrict } from "./json.ts";
import { listOf, NotUnderstood, objectOf, readModel, readText, startReading } from "./reading.ts";
import type { Reading } from "./reading.ts";
import { readResponses } from "./responses.ts";

export interface OpenAiRequest {
  readonly http: HttpOperation;
  /** The whole body, content-encoding removed; absent or empty for a request without one. */
  readonly body?: Uint8Array | string;
  /** Path of the connection's endpoint without a slash at the end: `/v1`, or empty. */
  readonly basePath: string;
}

/** Longest summary of an operation, for events and approvers. */
const maxSummaryLength = 300;

type BodyReader = (reading: Reading, body: unknown) => void;

/** What is understood of the API; everything else is `other` and refused. */
const posts: ReadonlyMap<string, { readonly operation: string; readonly read: BodyReader }> =
  new Map([
    ["/chat/completions", { operation: "chat", read: readChat }],
    ["/responses", { operation: "responses", read: readResponses }],
    ["/embeddings", { operation: "embeddings", read: readEmbeddings }],
  ]);

export function recogniseOpenAi(request: OpenAiRequest): LlmOperation {
  const reading = startReading();
  let operation = "other";
  const { unrecognised, ambiguous } = request.http;
  // The path says which operation it is, so it always has to have one reading.
  let problem = unrecognised ?? ambiguous?.path ?? ambiguous?.query;
  try {
    if (problem === undefined) {
      const route = routeOf(request);
      operation = route.operation;
      route.read(reading);
    }
  } catch (error) {
    if (!(error instanceof NotUnderstood)) throw error;
    problem = error.message;
  }
  return llmOperation(request.http, operation, reading, problem);
}

interface Route {
  readonly operation: string;
  readonly read: (reading: Reading) => void;
}

function routeOf({ http, body, basePath }: OpenAiRequest): Route {
  const { method, path, contentType } = http.facts;
  const local = path.startsWith(`${basePath}/`) ? path.slice(basePath.length) : undefined;
  const post = method === "POST" && local !== undefined ? posts.get(local) : undefined;
  if (post)
    return {
      operation: post.operation,
      read: (reading) => {
        refuseQueriedModel(http.facts);
        post.read(reading, jsonBody(contentType, body));
      },
    };
  const model = method === "GET" ? /^\/models(?:\/(.+))?$/.exec(local ?? "") : null;
  if (model) return { operation: "models", read: (reading) => readModels(reading, model[1], body) };
  throw new NotUnderstood(
    `${method} ${printable(path)} is no operation of this API that rules know`,
  );
}

/** LiteLLM takes it before that of the body. */
function refuseQueriedModel({ query }: HttpFacts): void {
  for (const name of Object.keys(query))
    if (name.toUpperCase().toLowerCase() === "model")
      throw new NotUnderstood(
        "the query names a model, which some servers take for that of the body",
      );
}

function jsonBody(contentType: string, body: Uint8Array | string | undefined): unknown {
  if (contentType !== "application/json")
    throw new NotUnderstood("the body is not sent as application/json");
  const parsed = parseStrict(body ?? "");
  if ("problem" in parsed) throw new NotUnderstood(parsed.problem);
  return parsed.value;
}

function readModels(
  reading: Reading,
  model: string | undefined,
  body: Uint8Array | string | undefined,
): void {
  if (body !== undefined && body.length > 0)
    throw new NotUnderstood("a request for models has a body");
  reading.model = model ?? "";
}

const embeddingNames: ReadonlySet<string> = new Set(["model", "input"]);

function readEmbeddings(reading: Reading, value: unknown): void {
  const body = objectOf(value, "the body", embeddingNames);
  readModel(reading, body);
  const { input } = body;
  if (typeof input === "string") return readText(reading, input, "input");
  for (const text of listOf(input, "input")) {
    if (typeof text === "string") readText(reading, text, "input");
    else if (isTokens(text)) reading.promptsUnreadable = true;
    else throw new NotUnderstood("input is neither text nor tokens");
  }
}

/** Token numbers instead of text, as LangChain's OpenAIEmbeddings sends them. */
function isTokens(value: unknown): boolean {
  return (
    typeof value === "number" ||
    (Array.isArray(value) && value.every((token) => typeof token === "number"))
  );
}

function llmOperation(
  http: HttpOperation,
  operation: string,
  reading: Reading,
  problem: string | undefined,
): LlmOperation {
  const { model, stream, maxOutputTokens, prompts, promptsUnreadable } = reading;
  const tools = [...reading.tools];
  const facts: LlmFacts = {
    operation,
    model,
    stream,
    tools,
    maxOutputTokens,
    prompts,
    ...(promptsUnreadable && { promptsUnreadable }),
  };
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
    accesses: [request, ...tools.map((tool): Access => ({ kind: "tool", tool }))],
    facts,
    http: http.facts,
    ...(problem !== undefined && { unrecognised: problem }),
  };
}
