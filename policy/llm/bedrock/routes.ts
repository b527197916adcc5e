// Which operation of Amazon Bedrock a request is: the model stands in the path, what is asked of it behind that.
import { nameOf } from "../reading.ts";
import type { Reading } from "../reading.ts";
import type { Route, RoutedRequest } from "../provider.ts";
import { readConverse, readCount } from "./converse.ts";
import { isEmbedding, readInvoke } from "./invoke.ts";

const modelPath = /^\/model\/([^/]+)\/([a-z-]+)$/;
const listPath = /^\/foundation-models(?:\/([^/]+))?$/;

export function bedrockRoute({ http, path }: RoutedRequest): Route | undefined {
  if (http.method === "GET") {
    const listed = listPath.exec(path);
    return listed === null ? undefined : about("models", listed[1] ?? "", "none", () => {});
  }
  const [, model = "", action] = http.method === "POST" ? (modelPath.exec(path) ?? []) : [];
  switch (action) {
    case "converse":
    case "converse-stream":
      return about("chat", model, "json", (reading, value) => {
        reading.stream = action === "converse-stream";
        readConverse(reading, value);
      });
    case "invoke":
    case "invoke-with-response-stream":
      return about(isEmbedding(model) ? "embeddings" : "chat", model, "json", (reading, value) => {
        reading.stream = action === "invoke-with-response-stream";
        readInvoke(reading, value);
      });
    case "count-tokens":
      return about("count-tokens", model, "json", readCount);
    default:
      return undefined;
  }
}

function about(
  operation: string,
  model: string,
  body: Route["body"],
  read: (reading: Reading, value: unknown) => void,
): Route {
  return {
    operation,
    body,
    read: (reading, value) => {
      reading.model = model === "" ? "" : nameOf(model, "the model");
      read(reading, value);
    },
  };
}
