// Reads requests and writes answers of the test's origin, whichever version of HTTP they came in.
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";

export type Request = Http2ServerRequest;
export type Response = Http2ServerResponse;

export async function bodyOf(request: Request): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
  return Buffer.concat(parts);
}

export function send(
  response: Response,
  code: number,
  type: string,
  body: Buffer,
  headers: Readonly<Record<string, string | string[]>> = {},
): void {
  response.writeHead(code, { "content-type": type, "content-length": body.length, ...headers });
  response.end(body);
}

export function json(
  response: Response,
  code: number,
  value: unknown,
  headers: Readonly<Record<string, string | string[]>> = {},
): void {
  send(response, code, "application/json", Buffer.from(JSON.stringify(value)), headers);
}
