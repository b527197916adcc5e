// An origin that keeps the very bytes it got and takes them apart by the one form that may arrive. Anything else is a fault, kept beside them.
import { once } from "node:events";
import { createServer } from "node:net";
import type { Socket } from "node:net";

export interface Arrived {
  /** `GET /path`, exactly as it stood in the request line. */
  readonly line: string;
  readonly host: string;
  /** `name: value`, without Host. */
  readonly headers: readonly string[];
  /** Without framing, one character for each byte. */
  readonly body: string;
  /** `name: value`, of the last chunk. */
  readonly trailers: readonly string[];
  /** Only the beginning arrived before the proxy gave up. */
  readonly cut: boolean;
  readonly bytes: string;
}

export interface ByteOrigin {
  readonly port: number;
  readonly arrived: readonly Arrived[];
  /** What no reader should have to interpret. */
  readonly faults: readonly string[];
  /** Requests whose head is here and whose body is not whole yet. */
  begun(): number;
  clear(): void;
  close(): Promise<void>;
}

const requestLine = /^([A-Z][A-Z0-9_-]{0,31}) (\/[\x21-\x22\x24-\x7e]*) HTTP\/1\.1$/;
const headerLine = /^([!#$%&'*+\-.^_`|~0-9a-z]+): ((?! )[\t\x20-\x7e\x80-\xff]*)$/;
const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

class Unreadable extends Error {}

/** @param reply what it answers to each whole request */
export async function startByteOrigin(reply: string = answer): Promise<ByteOrigin> {
  const arrived: Arrived[] = [];
  const faults: string[] = [];
  const sockets = new Set<Socket>();
  const begun = new Set<Socket>();
  const server = createServer((socket) => {
    let pending = "";
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      pending += chunk.toString("latin1");
      try {
        for (let one = readRequest(pending); one?.cut === false; one = readRequest(pending)) {
          arrived.push(one);
          pending = pending.slice(one.bytes.length);
          socket.write(reply);
        }
      } catch (error) {
        faults.push(`${String(error)}: ${JSON.stringify(pending.slice(0, 400))}`);
        pending = "";
        socket.destroy();
      }
      if (pending.includes("\r\n\r\n")) begun.add(socket);
      else begun.delete(socket);
    });
    socket.on("close", () => {
      sockets.delete(socket);
      begun.delete(socket);
      if (pending === "") return;
      const one = pending.includes("\r\n\r\n") ? readRequest(pending) : undefined;
      if (one === undefined) faults.push(`half a head: ${JSON.stringify(pending.slice(0, 400))}`);
      else arrived.push(one);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address !== "object") throw new Error("no port");
  return {
    port: address.port,
    arrived,
    faults,
    begun: () => begun.size,
    clear() {
      arrived.length = 0;
      faults.length = 0;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** The first request of these bytes; `cut` while its body is not whole, undefined while its head is not. Throws Unreadable. */
export function readRequest(bytes: string): Arrived | undefined {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const [first = "", ...lines] = bytes.slice(0, end).split("\r\n");
  if (!requestLine.test(first)) throw new Unreadable("the request line is not in its one form");
  const headers = lines.map((line) => {
    if (!headerLine.test(line)) throw new Unreadable(`the header line ${JSON.stringify(line)}`);
    return line;
  });
  const values = (name: string): string[] =>
    headers
      .filter((line) => line.startsWith(`${name}: `))
      .map((line) => line.slice(name.length + 2));
  const [host, ...others] = values("host");
  if (host === undefined || others.length > 0) throw new Unreadable("not one Host");
  const body = readBody(bytes, end + 4, values("content-length"), values("transfer-encoding"));
  return {
    line: first.slice(0, -" HTTP/1.1".length),
    host,
    headers: headers.filter((line) => !line.startsWith("host: ")),
    body: body.text,
    trailers: body.trailers,
    cut: body.end < 0,
    bytes: body.end < 0 ? bytes : bytes.slice(0, body.end),
  };
}

interface Body {
  readonly text: string;
  /** Below 0: it is not whole. */
  readonly end: number;
  readonly trailers: readonly string[];
}

function readBody(
  bytes: string,
  from: number,
  lengths: readonly string[],
  codings: readonly string[],
): Body {
  const [length] = lengths;
  if (lengths.length + codings.length > 1) throw new Unreadable("two framings");
  if (codings.length === 1) {
    if (codings[0] !== "chunked") throw new Unreadable("a coding that is not chunked");
    return readChunks(bytes, from);
  }
  if (length !== undefined && !/^(0|[1-9]\d*)$/.test(length)) throw new Unreadable("a length");
  const end = from + Number(length ?? 0);
  return { text: bytes.slice(from, end), end: bytes.length < end ? -1 : end, trailers: [] };
}

function readChunks(bytes: string, from: number): Body {
  let text = "";
  for (let at = from; ;) {
    const lineEnd = bytes.indexOf("\r\n", at);
    if (lineEnd < 0) return { text, end: -1, trailers: [] };
    const size = bytes.slice(at, lineEnd);
    if (!/^(0|[1-9a-f][0-9a-f]*)$/i.test(size)) throw new Unreadable("a chunk size");
    const length = Number.parseInt(size, 16);
    if (length === 0) return { text, ...readTrailers(bytes, lineEnd) };
    const end = lineEnd + 2 + length;
    if (bytes.length < end + 2) return { text, end: -1, trailers: [] };
    if (!bytes.startsWith("\r\n", end)) throw new Unreadable("a chunk's end");
    text += bytes.slice(lineEnd + 2, end);
    at = end + 2;
  }
}

/** @param from where the line of the last chunk ends */
function readTrailers(bytes: string, from: number): Omit<Body, "text"> {
  const end = bytes.indexOf("\r\n\r\n", from);
  if (end < 0) return { end: -1, trailers: [] };
  const trailers = end === from ? [] : bytes.slice(from + 2, end).split("\r\n");
  for (const line of trailers)
    if (!headerLine.test(line)) throw new Unreadable(`the trailer ${JSON.stringify(line)}`);
  return { end: end + 4, trailers };
}
