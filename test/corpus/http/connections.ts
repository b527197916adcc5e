// Several requests on one connection: what belongs to which, and what happens behind a refusal.
import { H, reaches, refused, smuggled } from "./entry.ts";
import type { Entry } from "./entry.ts";

const first = `GET /first HTTP/1.1\r\n${H}\r\n`;
const seenFirst = { line: "GET /first" };

export const connections: readonly Entry[] = [
  reaches("two pipelined requests", `${first}GET /second HTTP/1.1\r\n${H}\r\n`, seenFirst, {
    line: "GET /second",
  }),
  reaches(
    "sixteen pipelined requests",
    Array.from({ length: 16 }, (_, at) => `GET /${at} HTTP/1.1\r\n${H}\r\n`).join(""),
    ...Array.from({ length: 16 }, (_, at) => ({ line: `GET /${at}` })),
  ),
  reaches("a request and half of another", `${first}GET /half HTTP/1.1\r\nHost: a\r\n`, seenFirst),
  reaches("a request and rubbish behind it", `${first}rubbish\r\n\r\n${smuggled}`, seenFirst),
  reaches("a request and a TLS hello behind it", `${first}\x16\x03\x01\x02\x00\x01`, seenFirst),
  reaches(
    "a request and an ambiguous one behind it",
    `${first}POST /second HTTP/1.1\r\n${H}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
    seenFirst,
  ),
  reaches(
    "a request that a policy denies, and one behind it",
    `GET /denied HTTP/1.1\r\n${H}\r\n${first}`,
    seenFirst,
  ),
  reaches(
    "a body of a denied request that is a request",
    `POST /denied HTTP/1.1\r\n${H}Content-Length: ${smuggled.length}\r\n\r\n${smuggled}${first}`,
    seenFirst,
  ),
  reaches(
    "a body in chunks of a denied request that is a request",
    `POST /denied HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n${first}`,
    seenFirst,
  ),
  refused(
    "a request behind one without Host",
    `POST /denied HTTP/1.1\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}`,
  ),
  refused(
    "a request behind two lengths",
    `POST / HTTP/1.1\r\n${H}Content-Length: 0\r\nContent-Length: 0\r\n\r\n${smuggled}`,
  ),
  refused(
    "a request behind an upgrade",
    `GET / HTTP/1.1\r\n${H}Connection: Upgrade\r\nUpgrade: smuggle/1\r\n\r\n${smuggled}`,
  ),
  refused("a request behind CONNECT", `CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n${smuggled}`),
  refused("a request behind HTTP/0.9", `GET /\r\n${smuggled}`),
  refused(
    "a request in the body of one whose expectation cannot be met",
    `POST / HTTP/1.1\r\n${H}Expect: nothing\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}`,
  ),
];

const long = (length: number): string => "x".repeat(length);

export const sizes: readonly Entry[] = [
  refused("a header of 1 MB", `GET / HTTP/1.1\r\n${H}X-A: ${long(1 << 20)}\r\n\r\n`, 431),
  refused("a head over 32 KiB", `GET / HTTP/1.1\r\n${H}X-A: ${long(33_000)}\r\n\r\n`, 431),
  refused("10,000 headers", `GET / HTTP/1.1\r\n${H}${"X-A: 1\r\n".repeat(10_000)}\r\n`, 431),
  refused("201 headers", `GET / HTTP/1.1\r\n${H}${"X-A: 1\r\n".repeat(200)}\r\n`, 431),
  refused("a header name of 1 MB", `GET / HTTP/1.1\r\n${H}${long(1 << 20)}: 1\r\n\r\n`, 431),
  refused("a header name of 1 MB without an end", `GET / HTTP/1.1\r\n${H}${long(1 << 20)}`, 431),
  refused("a target of 1 MB", `GET /${long(1 << 20)} HTTP/1.1\r\n${H}\r\n`, 431),
  refused("a method of 1 MB", `${"G".repeat(1 << 20)} / HTTP/1.1\r\n${H}\r\n`),
  refused("a Host of 1 MB", `GET / HTTP/1.1\r\nHost: ${long(1 << 20)}\r\n\r\n`, 431),
  reaches("200 headers", `GET /many HTTP/1.1\r\n${H}${"X-A: 1\r\n".repeat(199)}\r\n`, {
    line: "GET /many",
  }),
  reaches("a header of 30 KiB", `GET /long HTTP/1.1\r\n${H}X-A: ${long(30_000)}\r\n\r\n`, {
    line: "GET /long",
    has: [`x-a: ${long(30_000)}`],
  }),
];
