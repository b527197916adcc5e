// Which operation of the Gemini API a request is: the method stands behind the model in the path. Google AI's paths and Vertex AI's.
import { nameOf } from "../reading.ts";
import type { Reading } from "../reading.ts";
import type { Route, RoutedRequest } from "../provider.ts";
import { readCount, readEmbedding, readEmbeddings, readGenerate } from "./generate.ts";
import { storedRoute } from "./stored.ts";

/** Its version stands in the endpoint's url or in the request. */
const version = /^(\/upload)?\/v\d+(?:alpha|beta)?\d*(?=\/)/;
const modelPath =
  /^\/(?:projects\/[^/]+\/locations\/[^/]+\/publishers\/google\/)?models(?:\/([^/:]+))?$/;
const methodPath =
  /^\/(?:models\/|(tunedModels\/)|projects\/[^/]+\/locations\/[^/]+\/(?:publishers\/google\/models\/|(endpoints\/)))([^/:]+):([A-Za-z]+)$/;

interface Method {
  readonly operation: string;
  readonly streams?: true;
  readonly read: (reading: Reading, value: unknown) => void;
}

/** Everything else is `other` and refused. */
const methods: ReadonlyMap<string, Method> = new Map<string, Method>([
  ["generateContent", { operation: "chat", read: readGenerate }],
  ["streamGenerateContent", { operation: "chat", streams: true, read: readGenerate }],
  ["countTokens", { operation: "count-tokens", read: readCount }],
  ["embedContent", { operation: "embeddings", read: readEmbedding }],
  ["batchEmbedContents", { operation: "embeddings", read: readEmbeddings }],
]);

export function geminiRoute({ http, path }: RoutedRequest): Route | undefined {
  const local = path.replace(version, "$1");
  const listed = http.method === "GET" ? modelPath.exec(local) : null;
  if (listed !== null)
    return {
      operation: "models",
      body: "none",
      read: (reading) => {
        reading.model = listed[1] ?? "";
      },
    };
  const asked = http.method === "POST" ? methodPath.exec(local) : null;
  const method = asked === null ? undefined : methods.get(asked[4] ?? "");
  if (asked === null || method === undefined) return storedRoute(http.method, local);
  return {
    operation: method.operation,
    body: "json",
    read: (reading, value) => {
      reading.model = nameOf(`${asked[1] ?? asked[2] ?? ""}${asked[3] ?? ""}`, "the model");
      reading.stream = method.streams === true;
      method.read(reading, value);
    },
  };
}
