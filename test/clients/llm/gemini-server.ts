// A server that speaks the Gemini API: the real wire format and key check, answers by what the last content says.
import type { ServerResponse } from "node:http";
import type { TestContext } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { secretText } from "./anthropic-server.ts";
import { example, piecesOf, scriptedServer, sendJson, type Asked, type Body } from "./scripted.ts";

export const geminiKey = "AIza-real";
export const thoughtSignature = Buffer.from("what only the provider reads ".repeat(4)).toString(
  "base64",
);

type Part = Body;

export const geminiServer = (t: Pick<TestContext, "after">) => scriptedServer(t, answer);

async function answer(asked: Asked, response: ServerResponse): Promise<void> {
  if (asked.headers["x-goog-api-key"] !== geminiKey)
    return fail(
      response,
      400,
      "INVALID_ARGUMENT",
      "API key not valid. Please pass a valid API key.",
    );
  const { pathname, searchParams } = new URL(asked.path, "http://x");
  if (asked.method === "GET" && /^\/v1(?:beta)?\/models$/.test(pathname))
    return sendJson(response, 200, {
      models: [{ name: "models/gemini-test", displayName: "Test", supportedActions: [] }],
    });
  const [, model, method] = /^\/v1(?:beta)?\/models\/([^/:]+):(\w+)$/.exec(pathname) ?? [];
  switch (method) {
    case "generateContent":
      return lastText(asked.body).includes("overload")
        ? fail(response, 429, "RESOURCE_EXHAUSTED", "Too much")
        : sendJson(response, 200, whole(partsFor(asked.body), String(model), "STOP"));
    case "streamGenerateContent":
      return stream(asked.body, String(model), searchParams.get("alt") === "sse", response);
    case "countTokens":
      return sendJson(response, 200, { totalTokens: 7 });
    case "embedContent":
      return sendJson(response, 200, { embedding: { values: [0.25, -0.5] } });
    case "batchEmbedContents":
      return sendJson(response, 200, {
        embeddings: (asked.body["requests"] as unknown[]).map(() => ({ values: [0.25, -0.5] })),
      });
    default:
      return fail(response, 404, "NOT_FOUND", "Not found");
  }
}

function fail(response: ServerResponse, code: number, status: string, message: string): void {
  sendJson(response, code, { error: { code, message, status } });
}

function whole(parts: readonly Part[], model: string, finishReason?: string) {
  return {
    candidates: [
      {
        content: { role: "model", parts },
        index: 0,
        ...(finishReason !== undefined && { finishReason }),
      },
    ],
    usageMetadata: {
      promptTokenCount: 12,
      candidatesTokenCount: 9,
      thoughtsTokenCount: 2,
      totalTokenCount: 23,
    },
    modelVersion: model,
    responseId: "response-1",
  };
}

async function stream(
  body: Body,
  model: string,
  isSse: boolean,
  response: ServerResponse,
): Promise<void> {
  const chunks = partsFor(body).flatMap((part) =>
    typeof part["text"] === "string"
      ? piecesOf(part["text"]).map((text) => whole([{ ...part, text }], model))
      : [whole([part], model)],
  );
  chunks.push(whole([{ text: "" }], model, "STOP"));
  response.writeHead(200, {
    "content-type": isSse ? "text/event-stream" : "application/json; charset=UTF-8",
  });
  for (const [index, chunk] of chunks.entries()) {
    const text = JSON.stringify(chunk, undefined, 2);
    if (isSse) response.write(`data: ${JSON.stringify(chunk)}\r\n\r\n`);
    else response.write(index === 0 ? `[${text}` : `\n,\r\n${text}`);
    await wait(0);
  }
  response.end(isSse ? "" : "\n]\n");
}

function lastText({ contents }: Body): string {
  return JSON.stringify((contents as Body[]).at(-1));
}

function partsFor(body: Body): Part[] {
  const said = lastText(body);
  const config = (body["generationConfig"] ?? {}) as Body;
  const thought: Part[] =
    config["thinkingConfig"] === undefined
      ? []
      : [{ text: `I think: ${secretText}`, thought: true, thoughtSignature }];
  const tool = ((body["tools"] ?? []) as Body[])[0]?.["functionDeclarations"] as Body[] | undefined;
  if (tool?.[0] !== undefined && !said.includes("functionResponse")) {
    const { name, parameters, parametersJsonSchema, parameters_json_schema } = tool[0];
    const args = example(parameters ?? parametersJsonSchema ?? parameters_json_schema) as Body;
    return [
      ...thought,
      { text: "Let me see." },
      {
        functionCall: {
          name,
          args: said.includes("secret") ? { ...args, note: secretText } : args,
        },
        thoughtSignature,
      },
    ];
  }
  const schema =
    config["responseJsonSchema"] ?? config["response_json_schema"] ?? config["responseSchema"];
  if (schema !== undefined) return [{ text: JSON.stringify(example(schema)) }];
  return [...thought, { text: said.includes("secret") ? secretText : "Hello there, you." }];
}
