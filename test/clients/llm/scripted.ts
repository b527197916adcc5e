// What the scripted servers of model providers share: they answer as real ones would, without a model behind them.
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly rawHeaders: readonly string[];
  readonly raw: Buffer;
  /** The JSON body; an empty object where there is none. */
  readonly body: Body;
}

export type Body = Readonly<Record<string, unknown>>;

export interface ScriptedServer {
  readonly port: number;
  readonly asked: Asked[];
}

const bodyLimit = 16 * 1024 * 1024;

export async function scriptedServer(
  t: Pick<TestContext, "after">,
  answer: (asked: Asked, response: ServerResponse) => Promise<void> | void,
): Promise<ScriptedServer> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    let length = 0;
    request.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length > bodyLimit) request.destroy();
      else chunks.push(chunk);
    });
    request.on("end", () => {
      const raw = Buffer.concat(chunks);
      const one: Asked = {
        method: request.method ?? "",
        path: request.url ?? "",
        headers: request.headers,
        rawHeaders: request.rawHeaders,
        raw,
        body: bodyOf(raw),
      };
      asked.push(one);
      Promise.resolve(answer(one, response)).catch((error: unknown) =>
        response.destroy(error instanceof Error ? error : new Error(String(error))),
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(
    () =>
      new Promise<void>((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  );
  return { port: (server.address() as AddressInfo).port, asked };
}

function bodyOf(raw: Buffer): Body {
  try {
    const value: unknown = JSON.parse(raw.toString("utf8"));
    return typeof value === "object" && value !== null ? (value as Body) : {};
  } catch {
    return {};
  }
}

export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

/** A value that a JSON schema describes: 3 for numbers, its own name for text. */
export function example(schema: unknown, name = "value", root: unknown = schema): unknown {
  const { type, properties, items, enum: values, anyOf, $ref: reference } = (schema ?? {}) as Body;
  if (typeof reference === "string") return example(resolved(root, reference), name, root);
  if (Array.isArray(values)) return values[0];
  if (Array.isArray(anyOf)) return example(anyOf[0], name, root);
  switch (String(type).toLowerCase()) {
    case "integer":
    case "number":
      return 3;
    case "boolean":
      return true;
    case "array":
      return [example(items, name, root)];
    case "object":
      return Object.fromEntries(
        Object.entries((properties ?? {}) as Body).map(([key, value]) => [
          key,
          example(value, key, root),
        ]),
      );
    default:
      return name;
  }
}

function resolved(root: unknown, reference: string): unknown {
  let at = root;
  for (const step of reference.replace(/^#\//, "").split("/")) at = (at as Body)[step];
  return at;
}

/** Cut so that every value worth masking is cut, too. */
export function piecesOf(text: string, length = 5): string[] {
  const pieces: string[] = [];
  for (let at = 0; at < text.length; at += length) pieces.push(text.slice(at, at + length));
  return pieces;
}
