// A git repository over HTTP: `git http-backend` as a CGI program (git-http-backend(1), RFC 3875), behind a node:http2 server.
import { spawn } from "node:child_process";
import { bodyOf, type Request, type Response } from "./answers.ts";

/** @param repositories the folder that /git/ stands for */
export async function serveGit(
  repositories: string,
  request: Request,
  response: Response,
  url: URL,
): Promise<void> {
  // Whole before the program starts: an answer that comes before the end of what was asked leaves git waiting for itself.
  const body = await bodyOf(request);
  const header = (name: string): string => String(request.headers[name] ?? "");
  const child = spawn("git", ["http-backend"], {
    // It tells its own errors to the client as well.
    stdio: ["pipe", "pipe", "ignore"],
    env: {
      PATH: process.env["PATH"] ?? "",
      GIT_PROJECT_ROOT: repositories,
      GIT_HTTP_EXPORT_ALL: "1",
      REMOTE_USER: "agent",
      REQUEST_METHOD: request.method,
      PATH_INFO: url.pathname.slice("/git".length),
      QUERY_STRING: url.search.slice(1),
      CONTENT_TYPE: header("content-type"),
      HTTP_CONTENT_ENCODING: header("content-encoding"),
      GIT_PROTOCOL: header("git-protocol"),
      CONTENT_LENGTH: String(body.length),
    },
  });
  child.stdin.on("error", () => undefined);
  child.stdin.end(body);
  return new Promise((resolve, reject) => {
    let head = Buffer.alloc(0);
    let isHeadSent = false;
    child.stdout.on("data", (chunk: Buffer) => {
      if (isHeadSent) {
        response.write(chunk);
        return;
      }
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) return;
      isHeadSent = true;
      writeHead(response, head.subarray(0, end).toString("latin1"));
      response.write(head.subarray(end + 4));
    });
    child.once("error", reject);
    child.once("close", () => {
      response.end();
      resolve();
    });
  });
}

function writeHead(response: Response, head: string): void {
  let status = 200;
  for (const line of head.split("\r\n")) {
    const [, name = "", value = ""] = /^([^:]+):\s*(.*)$/.exec(line) ?? [];
    if (name === "Status") status = Number(value.slice(0, 3));
    else if (name !== "") response.setHeader(name, value);
  }
  response.writeHead(status);
}
