// An authorization server for tests, on a real TLS socket: keeps what it is asked and answers what it is told to.
import { once } from "node:events";
import type { IncomingHttpHeaders, ServerResponse } from "node:http";
import { createServer } from "node:https";
import { newAuthority, newServing } from "../pki/authority.ts";

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly form: URLSearchParams;
}

export interface ScriptedServer {
  readonly url: string;
  readonly port: number;
  /** PEM. */
  readonly ca: string;
  readonly asked: Asked[];
  answer: (response: ServerResponse, asked: Asked) => void;
}

export function token(
  fields: Readonly<Record<string, unknown>> = {},
  status = 200,
): ScriptedServer["answer"] {
  return (response) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(
      JSON.stringify({
        access_token: "ya29.access-token",
        token_type: "Bearer",
        expires_in: 3600,
        ...fields,
      }),
    );
  };
}

export async function scriptedServer(
  t: { after(closer: () => void): void },
  name = "login.example",
): Promise<ScriptedServer> {
  const authority = newAuthority(Date.now());
  const serving = newServing(authority, [name], Date.now());
  const asked: Asked[] = [];
  const server = createServer(serving, (request, response) => {
    let body = "";
    request.on("data", (chunk) => (body += String(chunk)));
    request.on("end", () => {
      const one: Asked = {
        method: request.method ?? "",
        path: request.url ?? "",
        headers: request.headers,
        form: new URLSearchParams(body),
      };
      asked.push(one);
      scripted.answer(response, one);
    });
  });
  server.on("tlsClientError", () => undefined);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const scripted: ScriptedServer = {
    url: `https://${name}:${port}/oauth2/token`,
    port,
    ca: authority.certificate,
    asked,
    answer: token(),
  };
  return scripted;
}
