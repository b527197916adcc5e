// Where a body ends: Content-Length, Transfer-Encoding, and everything that some server takes for one of them.
import { H, reaches, refused, smuggled } from "./entry.ts";
import type { Entry } from "./entry.ts";

const hello = "5\r\nhello\r\n0\r\n\r\n";

/** A body of five bytes for who believes it, a request of its own for who does not. */
function length(value: string): string {
  return `POST / HTTP/1.1\r\n${H}Content-Length: ${value}\r\n\r\nhello`;
}

/** An empty body for who reads chunks, nothing or everything for who does not. */
function coding(lines: string): string {
  return `POST / HTTP/1.1\r\n${H}${lines}\r\n\r\n0\r\n\r\n${smuggled}`;
}

const lengths: readonly [name: string, value: string][] = [
  ["a list in Content-Length", "5, 5"],
  ["a list without a space in Content-Length", "5,5"],
  ["two different numbers in Content-Length", "5, 6"],
  ["two numbers with a space in Content-Length", "5 5"],
  ["a signed Content-Length", "+5"],
  ["a negative Content-Length", "-5"],
  ["a negative zero in Content-Length", "-0"],
  ["a hexadecimal Content-Length", "0x5"],
  ["hexadecimal digits in Content-Length", "5h"],
  ["an octal Content-Length", "0o5"],
  ["a Content-Length with a fraction", "5.0"],
  ["a Content-Length with an exponent", "5e0"],
  ["a Content-Length with an underscore", "0_5"],
  ["a Content-Length with a parameter", "5;a=b"],
  ["a Content-Length in quotes", '"5"'],
  ["a Content-Length with wide digits", "\xef\xbc\x95"],
  ["a Content-Length behind a vertical tab", "\x0b5"],
  ["a Content-Length behind a form feed", "\x0c5"],
  ["a Content-Length behind a no-break space", "\xa05"],
  ["a Content-Length with a NUL", "5\x00"],
  ["a Content-Length over 2^64", "18446744073709551621"],
  ["a Content-Length over 2^53", "9007199254740993"],
  ["an endless Content-Length", "9".repeat(400)],
  ["an empty Content-Length", ""],
  ["a Content-Length of words", "five"],
];

const codings: readonly [name: string, lines: string][] = [
  ["identity", "Transfer-Encoding: identity"],
  ["chunked that is not last", "Transfer-Encoding: chunked, identity"],
  ["identity before chunked", "Transfer-Encoding: identity, chunked"],
  ["gzip before chunked", "Transfer-Encoding: gzip, chunked"],
  ["chunked before gzip", "Transfer-Encoding: chunked, gzip"],
  ["gzip alone", "Transfer-Encoding: gzip"],
  ["chunked twice in a list", "Transfer-Encoding: chunked, chunked"],
  ["chunked in two headers", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"],
  [
    "chunked in the first of two headers",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
  ],
  [
    "chunked in the second of two headers",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
  ],
  ["chunked before a comma", "Transfer-Encoding: chunked,"],
  ["chunked behind a comma", "Transfer-Encoding: ,chunked"],
  ["chunked behind a vertical tab", "Transfer-Encoding: \x0bchunked"],
  ["chunked before a vertical tab", "Transfer-Encoding: chunked\x0b"],
  ["chunked behind a form feed", "Transfer-Encoding: \x0cchunked"],
  ["chunked behind a no-break space", "Transfer-Encoding: \xa0chunked"],
  ["chunked behind a NUL", "Transfer-Encoding: \x00chunked"],
  ["chunked behind a bare carriage return", "Transfer-Encoding: \rchunked"],
  ["chunked in quotes", 'Transfer-Encoding: "chunked"'],
  ["chunked in single quotes", "Transfer-Encoding: 'chunked'"],
  ["chunked with a parameter", "Transfer-Encoding: chunked;q=1"],
  ["xchunked", "Transfer-Encoding: xchunked"],
  ["chunkedx", "Transfer-Encoding: chunkedx"],
  ["x chunked", "Transfer-Encoding: x chunked"],
  ["chunk", "Transfer-Encoding: chunk"],
  ["chunked with a Kelvin sign", "Transfer-Encoding: chun\xe2\x84\xaaed"],
  ["an empty Transfer-Encoding", "Transfer-Encoding:"],
  ["a folded Transfer-Encoding", "Transfer-Encoding:\r\n chunked"],
  ["Transfer-Encoding folded into another header", "X-A: 1\r\n Transfer-Encoding: chunked"],
  ["a space before its colon", "Transfer-Encoding : chunked"],
  ["a tab before its colon", "Transfer-Encoding\t: chunked"],
  ["a space before its name", " Transfer-Encoding: chunked"],
  ["a vertical tab before its colon", "Transfer-Encoding\x0b: chunked"],
  ["a NUL before its colon", "Transfer-Encoding\x00: chunked"],
  ["its twin with an underscore", "Transfer_Encoding: chunked"],
  ["its twin with a dot", "Transfer.Encoding: chunked"],
  [
    "Content-Length with it",
    `Content-Length: ${5 + smuggled.length}\r\nTransfer-Encoding: chunked`,
  ],
  [
    "Content-Length behind it",
    `Transfer-Encoding: chunked\r\nContent-Length: ${5 + smuggled.length}`,
  ],
  ["Content-Length 0 with it", "Content-Length: 0\r\nTransfer-Encoding: chunked"],
  ["identity and Content-Length", "Transfer-Encoding: identity\r\nContent-Length: 5"],
  ["Connection naming it away", "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked"],
];

export const framing: readonly Entry[] = [
  ...lengths.map(([name, value]) => refused(name, length(value))),
  ...codings.map(([name, lines]) => refused(`Transfer-Encoding: ${name}`, coding(lines))),
  refused(
    "two different Content-Lengths",
    `POST / HTTP/1.1\r\n${H}Content-Length: 0\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}`,
  ),
  refused(
    "two equal Content-Lengths",
    `POST / HTTP/1.1\r\n${H}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`,
  ),
  refused(
    "the twin of Content-Length with an underscore",
    `POST / HTTP/1.1\r\n${H}Content_Length: 5\r\n\r\nhello`,
  ),
  refused(
    "both twins of Content-Length",
    `POST / HTTP/1.1\r\n${H}Content-Length: ${smuggled.length}\r\nContent_Length: 0\r\n\r\n${smuggled}`,
  ),
  refused(
    "a Connection that names Content-Length away",
    `POST / HTTP/1.1\r\n${H}Connection: content-length\r\nContent-Length: 5\r\n\r\nhello`,
  ),
  refused(
    "chunks in HTTP/1.0",
    `POST / HTTP/1.0\r\n${H}Transfer-Encoding: chunked\r\n\r\n${hello}`,
  ),

  reaches("a body with a length", `POST /len HTTP/1.1\r\n${H}Content-Length: 5\r\n\r\nhello`, {
    line: "POST /len",
    body: "hello",
  }),
  reaches("a length with zeros before it", length("00005"), { line: "POST /", body: "hello" }),
  reaches("a length between blanks", length(" \t5\t "), { line: "POST /", body: "hello" }),
  reaches(
    "a body in chunks",
    `POST /chunks HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n${hello}`,
    {
      line: "POST /chunks",
      body: "hello",
    },
  ),
  reaches(
    "Chunked in other letters, between blanks",
    `POST /chunks HTTP/1.1\r\n${H}TRANSFER-ENCODING:\tcHUNKED \r\n\r\n${hello}`,
    { line: "POST /chunks", body: "hello" },
  ),
  reaches(
    "a POST without a body or a length",
    `POST /none HTTP/1.1\r\n${H}\r\nGET /after HTTP/1.1\r\n${H}\r\n`,
    { line: "POST /none" },
    { line: "GET /after" },
  ),
  reaches(
    "the body of a GET, which is a body",
    `GET /body HTTP/1.1\r\n${H}Content-Length: ${smuggled.length}\r\n\r\n${smuggled}GET /next HTTP/1.1\r\n${H}\r\n`,
    { line: "GET /body", body: smuggled },
    { line: "GET /next" },
  ),
  reaches(
    "the body of a HEAD, which is a body",
    `HEAD /body HTTP/1.1\r\n${H}Content-Length: 5\r\n\r\nhelloGET /next HTTP/1.1\r\n${H}\r\n`,
    { line: "HEAD /body", body: "hello" },
    { line: "GET /next" },
  ),
  reaches(
    "the body of a DELETE in chunks",
    `DELETE /body HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n${hello}`,
    { line: "DELETE /body", body: "hello" },
  ),
  reaches(
    "a request that is the body of another",
    `POST /outer HTTP/1.1\r\n${H}Content-Length: ${smuggled.length}\r\n\r\n${smuggled}`,
    { line: "POST /outer", body: smuggled },
  ),
];
