// The readers that this machine has: Node always, Go and nginx where they are installed.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { IncomingMessage, Server } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { planPort } from "../bench/ports.ts";
import { goProgram } from "../clients/cache.ts";
import { provide } from "../bench/rivals.ts";
import { reasonWithoutGo } from "../clients/toolchains.ts";
import type { Reader, Reading } from "./reader.ts";

/** Debian's package is installed where that may be. */
export function reasonWithoutNginx(): Promise<string | undefined> {
  return provide("nginx", "nginx", () => undefined);
}

export async function startReaders(): Promise<readonly Reader[]> {
  const readers = [await startNode()];
  if (reasonWithoutGo() === undefined) readers.push(await startGo());
  if ((await reasonWithoutNginx()) === undefined) readers.push(await startNginx());
  return readers;
}

/** `node:http` as it comes: strict. */
async function startNode(): Promise<Reader> {
  const server = reporting((request, body) => ({
    method: request.method ?? "",
    target: request.url ?? "",
    host: request.headers.host ?? "",
    body,
    trailers: pairs(request.rawTrailers),
    ...standardReading(request.url ?? ""),
  }));
  return { name: "node", port: await listening(server), close: () => closed(server) };
}

function pairs(flat: readonly string[]): string[] {
  const lines: string[] = [];
  for (let at = 0; at + 1 < flat.length; at += 2)
    lines.push(`${(flat[at] ?? "").toLowerCase()}: ${flat[at + 1]}`);
  return lines;
}

/** As the URL standard reads a target. */
function standardReading(target: string): { path: string; query: string[] } {
  const url = URL.parse(target, "http://a/");
  return {
    path: url === null ? "" : decoded(url.pathname),
    query: [...(url?.searchParams ?? [])].map(([name, value]) => `${name}=${value}`),
  };
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

async function startGo(): Promise<Reader> {
  const child = spawn(await goProgram("go-reader", import.meta.dirname), {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  return { name: "go", port: Number(line.toString()), close: () => ended(child) };
}

/** nginx hands what it read to a server of ours: the request line and host by variables, the body framed anew. */
async function startNginx(): Promise<Reader> {
  const reporter = reporting(({ headers }, body) => ({
    method: String(headers["x-method"] ?? ""),
    target: String(headers["x-target"] ?? ""),
    host: String(headers["x-host"] ?? ""),
    // In bars, since blanks at the ends of a header are not part of it.
    path: Buffer.from(String(headers["x-uri"] ?? "").slice(1, -1), "latin1").toString("utf8"),
    body,
  }));
  const origin = await listening(reporter);
  const port = await planPort();
  const folder = await mkdtemp(join(tmpdir(), "nginx-reader-"));
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${folder}/${name};`)
    .join(" ");
  await writeFile(
    join(folder, "nginx.conf"),
    `master_process off; daemon off; worker_processes 1; pid ${folder}/nginx.pid; error_log ${folder}/error.log crit;
events { worker_connections 512; }
http {
  access_log off; ${temporary} client_max_body_size 0; large_client_header_buffers 4 64k;
  upstream reporter { server 127.0.0.1:${origin}; keepalive 16; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://reporter/; proxy_http_version 1.1; proxy_ignore_client_abort on;
      proxy_pass_request_headers off; proxy_method POST; proxy_set_header Connection "";
      proxy_set_header X-Method $request_method; proxy_set_header X-Target $request_uri;
      proxy_set_header X-Host $host; proxy_set_header X-Uri "|$uri|";
    }
  }
}`,
  );
  const child = spawn("nginx", ["-c", join(folder, "nginx.conf"), "-p", folder], {
    stdio: "ignore",
  });
  await untilListening(port);
  const close = async (): Promise<void> => {
    await ended(child);
    await closed(reporter);
    await rm(folder, { recursive: true, force: true });
  };
  return { name: "nginx", port, close };
}

function reporting(say: (request: IncomingMessage, body: string) => Reading): Server {
  const server = createServer({ maxHeaderSize: 128 * 1024 }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("error", () => undefined);
    request.on("end", () => {
      const reading = say(request, Buffer.concat(chunks).toString("base64"));
      const text = Buffer.from(JSON.stringify(reading)).toString("base64");
      response.writeHead(200, { "x-reading": text, "content-length": 0 }).end();
    });
  });
  server.keepAliveTimeout = 60_000;
  return server;
}

async function listening(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

async function closed(server: Server): Promise<void> {
  server.closeAllConnections();
  server.close();
  await once(server, "close");
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill();
  await once(child, "exit");
}

async function untilListening(port: number): Promise<void> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    const socket = connect(port, "127.0.0.1");
    const isUp = await Promise.race([
      once(socket, "connect").then(() => true),
      once(socket, "close").then(() => false),
    ]).catch(() => false);
    socket.destroy();
    if (isUp) return;
    if (performance.now() > deadline) throw new Error("nginx did not start");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
