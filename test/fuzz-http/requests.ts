// Random requests on the edge of the grammar: each part is mostly right, and now and then one of the ways in which servers differ.
import fc from "fast-check";

/** Mostly the first. */
function mostly<T>(usual: T, ...others: readonly T[]): fc.Arbitrary<T> {
  return fc.oneof(
    { weight: 12, arbitrary: fc.constant(usual) },
    { weight: 1, arbitrary: fc.constantFrom(...others) },
  );
}

const lineEnd = fc.oneof(
  { weight: 60, arbitrary: fc.constant("\r\n") },
  {
    weight: 1,
    arbitrary: fc.constantFrom("\n", "\r", "\r\r\n", "\n\r", " \r\n", "\r\n ", "\0\r\n"),
  },
);
const method = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.constantFrom("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "get",
      "G\tT",
      "PROPFIND",
      "X",
      "GET ",
      "",
      "M-SEARCH",
      "QUERY",
      "PURGE",
      "A_B",
      "GET/",
    ),
  },
);
const target = mostly(
  "/a",
  "/",
  "/a?b=c",
  "/a/../b",
  "/a%2fb",
  "/%61",
  "//a",
  "/a;b",
  "/a#b",
  "*",
  "a",
  "http://a/b",
  "http://a",
  "http://b/c",
  "https://a/",
  "http://u@a/",
  "a:80",
  "/a b",
  "/a\tb",
  "/\xe4",
  "/a\\b",
  "/a%",
  "/a%00",
  "/a?b#c",
  "?a",
);
const version = mostly(
  "HTTP/1.1",
  "HTTP/1.0",
  "HTTP/1.2",
  "HTTP/2.0",
  "HTTP/0.9",
  "http/1.1",
  "HTTP/1.1 ",
  "HTTP/11",
  "HTTP/1,1",
  "HTTP/+1.1",
  "HTTP/1.01",
  "",
);
const blank = mostly(" ", "  ", "\t", " \t", "\x0b", "");
const requestLine = fc
  .tuple(method, blank, target, blank, version, lineEnd)
  .map((parts) => parts.join(""));

const name = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.constantFrom(
      "Content-Length",
      "Transfer-Encoding",
      "Connection",
      "X-A",
      "Content-Length",
      "Transfer-Encoding",
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "content-length",
      "TRANSFER-ENCODING",
      "Content_Length",
      "Transfer_Encoding",
      "Content-Length ",
      " Content-Length",
      "Transfer-Encoding\t",
      "Transfer-Encoding\0",
      "Content-Length\x0b",
      "Content\xadLength",
      "Host",
      "Expect",
      "Upgrade",
      "Trailer",
      "TE",
      "",
      "X A",
      "X-A(",
      "Content-Length\r",
    ),
  },
);
const colon = mostly(": ", ":", ":\t", " : ", ":  ", ":\x0b", ":\r\n ", ";", "", ":\0", ":\n ");
const value = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom("5", "chunked", "0", "20") },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      "05",
      "+5",
      "-5",
      "5 ",
      "5,5",
      "5, 6",
      "0x5",
      "5;",
      "5\0",
      "\x0b5",
      "5 5",
      "18446744073709551621",
      "4294967301",
      "Chunked",
      "chunked ",
      "chunked,",
      ", chunked",
      "identity",
      "identity, chunked",
      "chunked, identity",
      "gzip, chunked",
      "xchunked",
      "chunked\0",
      "\x0bchunked",
      '"chunked"',
      "chunked;a",
      "chunked, chunked",
      "\xa0chunked",
      "",
      "a",
      "b",
      "close",
      "keep-alive",
      "Transfer-Encoding",
      "content-length, close",
      "100-continue",
      "h2c",
      "trailers",
    ),
  },
);
const header = fc.tuple(name, colon, value, lineEnd).map((parts) => parts.join(""));
const host = mostly(
  "Host: a\r\n",
  "Host: A:80\r\n",
  "Host: a\r\nHost: b\r\n",
  "",
  "Host : a\r\n",
  "Host: a\n",
  "Host:a\r\n",
  "Host:\r\n",
  "Host: a, b\r\n",
  "Host: a.\r\n",
  " Host: a\r\n",
);

const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
const chunkSize = mostly(
  "5",
  "05",
  "5;a=b",
  "5 ",
  " 5",
  "+5",
  "0x5",
  "5;",
  "6",
  "4",
  "5\t",
  "5\x0b",
  "5;a\nb",
  "500000000000000005",
  "5\r",
  "A",
  '5;"a\r\nb"',
);
const chunkEnd = mostly("\r\n", "\n", "\r", "", "\r\n\r\n", "\r\r\n");
const trailer = mostly(
  "",
  "X-T: 1\r\n",
  "X-T: 1\r\nX-U: \r\nx-t: 2\r\n",
  "X-T:1\r\nAuthorization: mine\r\n",
  "Content-Length: 5\r\n",
  "Content-Type: b\r\n",
  "Host: b\r\n",
  "X-T: 1\n",
  "X T: 1\r\n",
  " X: 1\r\n",
  "GET /smuggled HTTP/1.1\r\nHost: a\r\n",
  "Transfer-Encoding: chunked\r\n",
);
const chunks = fc
  .tuple(
    chunkSize,
    chunkEnd,
    chunkEnd,
    mostly("0", "00", "0;a", "-0", "0x0", ""),
    chunkEnd,
    trailer,
    chunkEnd,
  )
  .map(
    ([size, first, second, last, third, fields, end]) =>
      `${size}${first}hello${second}${last}${third}${fields}${end}`,
  );
const body = fc.oneof(
  { weight: 3, arbitrary: fc.constant("") },
  { weight: 3, arbitrary: fc.constant("hello") },
  { weight: 4, arbitrary: chunks },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      smuggled,
      `0\r\n\r\n${smuggled}`,
      `hello${smuggled}`,
      `\r\n${smuggled}`,
    ),
  },
);

const before = fc.oneof(
  { weight: 20, arbitrary: fc.constant("") },
  { weight: 1, arbitrary: fc.constantFrom("\r\n", "\n", "\r\n\r\n", " ", "\0", "\r") },
);
const request = fc
  .tuple(before, requestLine, host, fc.array(header, { maxLength: 3 }), lineEnd, body)
  .map(
    ([start, line, named, headers, end, rest]) =>
      `${start}${line}${named}${headers.join("")}${end}${rest}`,
  );

type Edit = readonly [kind: "insert" | "drop" | "replace", place: number, text: string];
const edit: fc.Arbitrary<Edit> = fc.tuple(
  fc.constantFrom("insert" as const, "drop" as const, "replace" as const),
  fc.nat({ max: 999 }),
  fc.constantFrom(
    "\0",
    "\t",
    "\n",
    "\r",
    " ",
    "\x0b",
    "\x0c",
    ":",
    ";",
    ",",
    "_",
    "\x7f",
    "\x80",
    "\xff",
    "\r\n",
    "0",
    "5",
    "%",
    "#",
    "\x1b",
  ),
);

function apply(text: string, [kind, place, piece]: Edit): string {
  const at = Math.floor((place / 1000) * text.length);
  const rest = text.slice(kind === "insert" ? at : at + 1);
  return `${text.slice(0, at)}${kind === "drop" ? "" : piece}${rest}`;
}

/** One character for each byte. */
export const requests: fc.Arbitrary<string> = fc
  .tuple(
    request,
    fc.oneof(
      { weight: 2, arbitrary: fc.constant([]) },
      { weight: 1, arbitrary: fc.array(edit, { minLength: 1, maxLength: 2 }) },
    ),
  )
  .map(([text, edits]) => edits.reduce(apply, text));

/** Follows every one, on the same connection: who agrees on where the first ends reads this, and closes. */
export const last = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
