// Which operation of an OpenAI-compatible API a request is, and how its body is read: OpenAI's own paths, those of Azure, and Ollama's.
import type { HttpFacts } from "../../operation.ts";
import type { Route, RoutedRequest } from "../provider.ts";
import { NotUnderstood, nameOf } from "../reading.ts";
import type { Reading } from "../reading.ts";
import { readSpeech, readTranscription } from "./audio.ts";
import { readBatch } from "./batches.ts";
import { readChat } from "./chat.ts";
import { readCompletions } from "./completions.ts";
import { readEmbeddings } from "./embeddings.ts";
import { readUpload } from "./files.ts";
import { readEdit, readGeneration } from "./images.ts";
import { readModeration } from "./moderations.ts";
import { ollamaRoute } from "./ollama.ts";
import { readResponses } from "./responses.ts";

/** What is understood of the API; everything else is `other` and refused. */
const posts: ReadonlyMap<string, Route> = new Map<string, Route>([
  ["/chat/completions", { operation: "chat", body: "json", read: readChat }],
  ["/completions", { operation: "completions", body: "json", read: readCompletions }],
  ["/responses", { operation: "responses", body: "json", read: readResponses }],
  ["/responses/input_tokens", { operation: "count-tokens", body: "json", read: readResponses }],
  ["/embeddings", { operation: "embeddings", body: "json", read: readEmbeddings }],
  ["/moderations", { operation: "moderations", body: "json", read: readModeration }],
  ["/images/generations", { operation: "images", body: "json", read: readGeneration }],
  ["/images/edits", { operation: "images", body: "form", read: readEdit }],
  ["/images/variations", { operation: "images", body: "form", read: readEdit }],
  ["/audio/speech", { operation: "speech", body: "json", read: readSpeech }],
  ["/audio/transcriptions", { operation: "transcriptions", body: "form", read: readTranscription }],
  ["/audio/translations", { operation: "translations", body: "form", read: readTranscription }],
  ["/batches", { operation: "batches", body: "json", read: readBatch }],
]);

/** What reads, or ends, something that the provider keeps: no model is asked. */
const kept: readonly (readonly [pattern: RegExp, operation: string])[] = [
  [/^GET \/chat\/completions(?:\/[^/]+(?:\/messages)?)?$/, "chat"],
  [/^DELETE \/chat\/completions\/[^/]+$/, "chat"],
  [/^GET \/responses\/[^/]+(?:\/input_items)?$/, "responses"],
  [/^DELETE \/responses\/[^/]+$/, "responses"],
  [/^POST \/responses\/[^/]+\/cancel$/, "responses"],
  [/^GET \/files(?:\/[^/]+(?:\/content)?)?$/, "files"],
  [/^DELETE \/files\/[^/]+$/, "files"],
  [/^GET \/batches(?:\/[^/]+)?$/, "batches"],
  [/^POST \/batches\/[^/]+\/cancel$/, "batches"],
];

/**
 * Where Azure and servers at the root of a host begin: `/openai/deployments/NAME`, `/openai/v1`, `/openai`, `/v1`. Below an endpoint
 * with a path of its own the same may stand.
 */
const prefix = /^(?:\/openai)?(?:\/deployments\/([^/]+)|\/v1)?(\/.+)$/;

export function openAiRoute(request: RoutedRequest): Route | undefined {
  const ollama = ollamaRoute(request);
  if (ollama !== undefined) return ollama;
  const { http, path } = request;
  const [, deployment, local = ""] = prefix.exec(path) ?? [];
  const route = routeAt(http, local);
  if (route === undefined) return undefined;
  return {
    ...route,
    read: (reading, value) => {
      refuseQueriedModel(http, route.operation);
      if (deployment !== undefined) deploy(reading, deployment);
      route.read(reading, value);
    },
  };
}

function routeAt(http: HttpFacts, local: string): Route | undefined {
  const { method, upgrade } = http;
  if (upgrade !== undefined) return local === "/realtime" ? realtime(http) : undefined;
  const posted = method === "POST" ? posts.get(local) : undefined;
  if (posted !== undefined) return posted;
  if (method === "POST" && local === "/files") return upload(http);
  const [, operation] = kept.find(([pattern]) => pattern.test(`${method} ${local}`)) ?? [];
  if (operation !== undefined) return { operation, body: "none", read: () => {} };
  const model = method === "GET" ? /^\/models(?:\/(.+))?$/.exec(local) : null;
  if (model === null) return undefined;
  return {
    operation: "models",
    body: "none",
    read: (reading) => {
      reading.model = model[1] ?? "";
    },
  };
}

/** The file of a batch has requests to the same API. */
function upload(http: HttpFacts): Route {
  return {
    operation: "files",
    body: "form",
    read: (reading, value) =>
      readUpload(reading, value, http, (line) => openAiRoute({ http: line, path: line.path })),
  };
}

/** Azure takes the deployment of the path; so that nobody takes another, the body names it too. */
function deploy(reading: Reading, deployment: string): void {
  reading.deployment = nameOf(deployment, "the deployment");
}

/** LiteLLM takes it before that of the body; of a session it is the only place. */
function refuseQueriedModel({ query }: HttpFacts, operation: string): void {
  if (operation === "realtime") return;
  for (const name of Object.keys(query))
    if (name.toUpperCase().toLowerCase() === "model")
      throw new NotUnderstood(
        "the query names a model, which some servers take for that of the body",
      );
}

/** A session: what is said in it is decided as it is said (realtime.ts), but for sound; one that was set up elsewhere may have tools already. */
function realtime({ query }: HttpFacts): Route {
  return {
    operation: "realtime",
    body: "none",
    read: (reading) => {
      const names = [...(query["model"] ?? []), ...(query["deployment"] ?? [])];
      const others = Object.keys(query).filter(
        (name) => !["model", "deployment"].includes(name) && /^(?:model|deployment)$/i.test(name),
      );
      if (names.length > 1 || others.length > 0)
        throw new NotUnderstood("the query names several models");
      if (names[0] === undefined) reading.modelUnsaid = true;
      else reading.model = nameOf(names[0], "model");
      reading.toolsUnreadable = query["call_id"] !== undefined;
      reading.promptsUnreadable = true;
    },
  };
}
