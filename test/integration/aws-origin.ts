// An origin that checks requests as AWS does: each signature is recomputed from the very bytes that arrived.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage } from "node:http";
import { createSecureServer } from "node:http2";
import type { Http2ServerRequest } from "node:http2";
import type { Socket } from "node:net";

import type { AwsLease } from "../../contract/control.ts";
import { sha256, sign, signChunk } from "../../proxy/http/credential/sigv4.ts";

export const lease: AwsLease = {
  kind: "awsSigV4",
  service: "s3",
  region: "eu-central-1",
  accessKeyId: "AKIDEXAMPLE",
  secretAccessKey: "wJalrXUtnFEMI-secret",
  sessionToken: "session-token-secret",
  payload: "Signed",
};

export interface Received {
  readonly method: string;
  readonly target: string;
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
}

/** @param tls HTTP/2 over TLS, instead of HTTP/1.1 without */
export async function awsOrigin(
  t: { after(closer: () => void): void },
  tls?: { readonly cert: string; readonly key: string },
): Promise<{ port: number; received: Received[] }> {
  const received: Received[] = [];
  const listener = (
    request: IncomingMessage | Http2ServerRequest,
    end: (text: string) => void,
  ): void => {
    const chunks: Buffer[] = [];
    request.on("error", () => {});
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { method = "", url = "" } = request;
      received.push({
        method,
        target: url,
        rawHeaders: asHttp1(request.rawHeaders),
        body: Buffer.concat(chunks),
      });
      // An SDK takes a body it does not expect for an error.
      end(method === "GET" ? "ok" : "");
    });
  };
  const server =
    tls === undefined
      ? createServer((request, response) => listener(request, (text) => response.end(text)))
      : createSecureServer(tls, (request, response) =>
          listener(request, (text) => void response.end(text)),
        );
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => sockets.add(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return { port: address.port, received };
}

/** HTTP/2 has no Host: its `:authority` says the same. */
function asHttp1(raw: readonly string[]): string[] {
  return raw.flatMap((name, at) => {
    if (at % 2 === 1) return [];
    const value = raw[at + 1] ?? "";
    if (name === ":authority") return ["host", value];
    return name.startsWith(":") ? [] : [name, value];
  });
}

/** As the service checks it, from what arrived. Returns the body as it was meant. */
export function verified(
  { method, target, rawHeaders, body }: Received,
  of: AwsLease = lease,
): Buffer {
  const fields = new Map<string, string>();
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const name = (rawHeaders[at] ?? "").toLowerCase();
    assert.ok(!fields.has(name), `${name} came twice`);
    fields.set(name, rawHeaders[at + 1] ?? "");
  }
  const authorization = fields.get("authorization") ?? "";
  const [, names = ""] = /SignedHeaders=([^,]+)/.exec(authorization) ?? [];
  const headers = names.split(";").flatMap((name) => [name, fields.get(name) ?? ""]);
  const date = fields.get("x-amz-date") ?? "";
  const payload = fields.get("x-amz-content-sha256") ?? "";
  for (const name of fields.keys())
    assert.ok(!name.startsWith("x-amz-") || names.includes(name), `${name} is signed`);
  const expected = sign({ method, target, headers, payload, date }, of, of);
  assert.equal(authorization, expected.authorization);
  assert.equal(fields.get("x-amz-security-token"), of.sessionToken);
  if (payload === "UNSIGNED-PAYLOAD") return body;
  if (!payload.startsWith("STREAMING-")) {
    assert.equal(payload, sha256(body));
    return body;
  }
  assert.equal(fields.get("content-length"), String(body.length));
  const whole: Buffer[] = [];
  let before = expected.signature;
  for (let at = 0; at < body.length;) {
    const end = body.indexOf("\r\n", at);
    const [size = "", signature = ""] = body.toString("latin1", at, end).split(";chunk-signature=");
    const chunk = body.subarray(end + 2, end + 2 + Number.parseInt(size, 16));
    before = signChunk(expected, date, before, chunk);
    assert.equal(signature, before);
    whole.push(chunk);
    at = end + 4 + chunk.length;
  }
  assert.equal(whole.at(-1)?.length, 0);
  const bytes = Buffer.concat(whole);
  assert.equal(fields.get("x-amz-decoded-content-length"), String(bytes.length));
  return bytes;
}
