// Chunked bodies: sizes, extensions, line ends and trailers.
import { H, reaches, smuggled } from "./entry.ts";
import type { Entry, Seen } from "./entry.ts";

const start = `POST /c HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n`;
const hello: Seen = { line: "POST /c", body: "hello" };

/** Begun before the fault was seen: the origin gets no end of it, and no second request. */
function broken(name: string, body: string): Entry {
  return { name, bytes: `${start}${body}`, sees: [{ line: "POST /c", cut: true }] };
}

/** Nothing is wrong with it but that the rest never comes. */
function unfinished(name: string, body: string): Entry {
  return { ...broken(name, body), isUnfinished: true };
}

const sizes: readonly [name: string, size: string][] = [
  ["no number", "zz"],
  ["a prefix", "0x5"],
  ["a plus sign", "+5"],
  ["a minus sign", "-5"],
  ["a blank before it", " 5"],
  ["a tab before it", "\t5"],
  ["a fraction", "5.0"],
  ["an underscore", "0_5"],
  ["a vertical tab behind it", "5\x0b"],
  ["a NUL behind it", "5\x00"],
  ["a bare carriage return behind it", "5\r"],
  ["two words", "5 5"],
  ["a comma", "5,5"],
  ["nothing at all", ""],
  ["a semicolon alone", ";a=b"],
  ["more than 2^64", "10000000000000005"],
  ["more than 2^53", "20000000000005"],
  ["an endless number", "f".repeat(40)],
  ["wide digits", "\xef\xbc\x95"],
];

export const chunks: readonly Entry[] = [
  ...sizes.map(([name, size]) =>
    broken(`a chunk size with ${name}`, `${size}\r\nhello\r\n0\r\n\r\n${smuggled}`),
  ),
  broken("a chunk longer than it says", `3\r\nhello\r\n0\r\n\r\n${smuggled}`),
  broken("a chunk shorter than it says", `6\r\nhello\r\n0\r\n\r\n${smuggled}`),
  broken("a chunk without its line end", `5\r\nhello0\r\n\r\n${smuggled}`),
  broken("a chunk that ends with a bare line feed", `5\r\nhello\n0\r\n\r\n${smuggled}`),
  broken("a chunk that ends with a bare carriage return", `5\r\nhello\r0\r\n\r\n${smuggled}`),
  broken("a chunk size that ends with a bare line feed", `5\nhello\r\n0\r\n\r\n${smuggled}`),
  broken("a chunk size that ends with a bare carriage return", `5\rhello\r\n0\r\n\r\n${smuggled}`),
  broken("a last chunk that ends with a bare line feed", `5\r\nhello\r\n0\n\r\n${smuggled}`),
  broken(
    "an extension that ends with a bare line feed",
    `5;a\nhello\r\n0\r\n\r\n2\r\nok\r\n0\r\n\r\n${smuggled}`,
  ),
  broken("an extension with a carriage return", `5;a\rb\r\nhello\r\n0\r\n\r\n${smuggled}`),
  broken("an extension with a NUL", `5;a\x00b\r\nhello\r\n0\r\n\r\n${smuggled}`),
  broken("an endless extension", `5;${"a".repeat(40_000)}\r\nhello\r\n0\r\n\r\n${smuggled}`),
  unfinished("trailers without an end", `5\r\nhello\r\n0\r\nX-A: 1\r\n`),
  broken("a trailer that ends with a bare line feed", `5\r\nhello\r\n0\r\nX-A: 1\n\r\n${smuggled}`),
  broken("a trailer without a colon", `5\r\nhello\r\n0\r\nGET /smuggled HTTP/1.1\r\n\r\n`),
  broken("a folded trailer", `5\r\nhello\r\n0\r\nX-A: 1\r\n b\r\n\r\n`),
  broken(
    "trailers over 64 KiB",
    `5\r\nhello\r\n0\r\n${`X-A: ${"x".repeat(1000)}\r\n`.repeat(70)}\r\n`,
  ),
  unfinished("a body without its last chunk", `5\r\nhello\r\n`),

  reaches("a size with zeros before it", `${start}0005\r\nhello\r\n000\r\n\r\n`, hello),
  reaches(
    "a size in capital and small letters",
    `${start}a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n`,
    {
      line: "POST /c",
      body: "01234567890123456789",
    },
  ),
  reaches(
    "an extension, which is not passed on",
    `${start}5;name=value;other="a b"\r\nhello\r\n0;last\r\n\r\n`,
    hello,
  ),
  reaches("many small chunks", `${start}${"1\r\nx\r\n".repeat(300)}0\r\n\r\n`, {
    line: "POST /c",
    body: "x".repeat(300),
  }),
  reaches(
    "a request behind the last chunk",
    `${start}5\r\nhello\r\n0\r\n\r\nGET /next HTTP/1.1\r\n${H}\r\n`,
    hello,
    { line: "GET /next" },
  ),
  reaches(
    "trailers that would authorize, which are not passed on",
    `POST /c HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n5\r\nhello\r\n0\r\nAuthorization: mine\r\nX-Api-Key: mine\r\n\r\n`,
    { ...hello, lacks: ["trailer", "authorization", "x-api-key"] },
  ),
  reaches(
    "a request with trailers that it did not announce",
    `${start}5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Empty:\r\nx-sum:  2 \r\n\r\n`,
    {
      ...hello,
      has: ["transfer-encoding: chunked"],
      lacks: ["trailer"],
      trailers: ["x-sum: 1", "x-empty: ", "x-sum: 2"],
    },
  ),
  reaches(
    "a request with trailers alone, and another behind it",
    `${start}0\r\nX-Sum: 1\r\n\r\nGET /next HTTP/1.1\r\n${H}\r\n`,
    { line: "POST /c", trailers: ["x-sum: 1"] },
    { line: "GET /next" },
  ),
  reaches(
    "a body that streams, with trailers of which not all may go on",
    `POST /c HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nConnection: X-Hop\r\nTrailer: X-Sum, X-Hop\r\nTrailer: Host, Cookie\r\n\r\n11170\r\n${"x".repeat(70_000)}\r\n0\r\nX-Sum: 1\r\nX-Hop: 2\r\nCookie: a=b\r\nRange: bytes=1-2\r\n\r\n`,
    {
      line: "POST /c",
      body: "x".repeat(70_000),
      has: ["transfer-encoding: chunked", "trailer: x-sum"],
      trailers: ["x-sum: 1"],
    },
  ),
  ...["Content-Length: 50", "Transfer-Encoding: chunked", "Host: b", "Connection: close"].map(
    (line) => broken(`a trailer with ${line}`, `5\r\nhello\r\n0\r\n${line}\r\n\r\n`),
  ),
  ...[
    "Content-Type: text/plain",
    "X-HTTP-Method-Override: DELETE",
    "X-Original-URL: /denied",
    "Content_Length: 5",
    "Transfer_Encoding: chunked",
    "X_Api_Key: mine",
  ].map((line) =>
    broken(
      `a trailer with ${line}, which some would add to the head`,
      `5\r\nhello\r\n0\r\n${line}\r\n\r\n`,
    ),
  ),
];
