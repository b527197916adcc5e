// Which operation of an OpenAI-compatible API a request is, and how its body is read.
import type { Route, RoutedRequest } from "../provider.ts";
import { readChat } from "./chat.ts";
import { readEmbeddings } from "./embeddings.ts";
import { readResponses } from "./responses.ts";

/** What is understood of the API; everything else is `other` and refused. */
const posts: ReadonlyMap<string, Route> = new Map<string, Route>([
  ["/chat/completions", { operation: "chat", body: "json", read: readChat }],
  ["/responses", { operation: "responses", body: "json", read: readResponses }],
  ["/embeddings", { operation: "embeddings", body: "json", read: readEmbeddings }],
]);

export function openAiRoute({ http, path }: RoutedRequest): Route | undefined {
  if (http.method === "POST") return posts.get(path);
  const model = http.method === "GET" ? /^\/models(?:\/(.+))?$/.exec(path) : null;
  if (model === null) return undefined;
  return {
    operation: "models",
    body: "none",
    read: (reading) => {
      reading.model = model[1] ?? "";
    },
  };
}
