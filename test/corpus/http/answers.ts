// What upstreams answer that is not HTTP, or that two readers could read differently, and what the agent may make of it.

export interface BadAnswer {
  /** As what the upstream behaves, behind "an upstream that". */
  readonly name: string;
  /** One character for each byte, sent when a whole request is there; an array is sent piece by piece, each a turn later. */
  readonly bytes: string | readonly string[];
  /** The upstream closes behind it. */
  readonly closes?: true;
  /** Sent over and over until the proxy hangs up. */
  readonly endless?: string;
  /**
   * What the agent sees. `502`: a refusal that says what is wrong, on a connection that stays usable. `abort`: the
   * connection breaks, since the answer had begun. A body: that answer, whole.
   */
  readonly agent: "502" | "abort" | { readonly status: number; readonly body: string };
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const whole = { status: 200, body: "ok" } as const;

function head(lines: string): string {
  return `HTTP/1.1 200 OK\r\n${lines}\r\n\r\nok`;
}

const otherProtocols: readonly BadAnswer[] = [
  { name: "speaks SSH", bytes: "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", agent: "502" },
  { name: "speaks TLS", bytes: "\x15\x03\x01\x00\x02\x02\x16", agent: "502" },
  { name: "speaks SMTP", bytes: "220 mail.example ESMTP\r\n", agent: "502" },
  {
    name: "speaks HTTP/2",
    bytes: "\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0\0\x05\0\xff\xff\xff",
    agent: "502",
  },
  { name: "speaks PostgreSQL", bytes: "E\0\0\0\x0cSFATAL\0\0", agent: "502" },
  { name: "speaks HTTP/0.9", bytes: "<html>ok</html>", closes: true, agent: "502" },
  { name: "speaks RTSP", bytes: "RTSP/1.0 200 OK\r\n\r\n", agent: "502" },
  { name: "speaks ICY", bytes: "ICY 200 OK\r\n\r\n", agent: "502" },
  { name: "says nothing and closes", bytes: "", closes: true, agent: "502" },
  { name: "closes within its status line", bytes: "HTTP/1.1 2", closes: true, agent: "502" },
  {
    name: "closes within its head",
    bytes: "HTTP/1.1 200 OK\r\nContent-Le",
    closes: true,
    agent: "502",
  },
];

const statusLines: readonly BadAnswer[] = [
  ["says HTTP/1.2", "HTTP/1.2 200 OK"],
  ["says HTTP/2", "HTTP/2 200"],
  ["says http/1.1 in small letters", "http/1.1 200 OK"],
  ["gives a status of two digits", "HTTP/1.1 20 OK"],
  ["gives a status of four digits", "HTTP/1.1 2000 OK"],
  ["gives a status below 100", "HTTP/1.1 099 OK"],
  ["gives a status in words", "HTTP/1.1 OK OK"],
  ["gives a negative status", "HTTP/1.1 -20 OK"],
  ["gives two spaces before its status", "HTTP/1.1  200 OK"],
  ["gives a tab before its status", "HTTP/1.1\t200 OK"],
  ["ends its status line with a bare line feed", "HTTP/1.1 200 OK\nX-A: 1"],
  ["puts a NUL in its reason", "HTTP/1.1 200 O\0K"],
  ["puts a carriage return in its reason", "HTTP/1.1 200 O\rK"],
].map(([name = "", line = ""]) => ({
  name,
  bytes: `${line}\r\nContent-Length: 2\r\n\r\nok`,
  agent: "502",
}));

const heads: readonly BadAnswer[] = [
  ["has both lengths", "Content-Length: 2\r\nTransfer-Encoding: chunked"],
  ["has both lengths, the other way round", "Transfer-Encoding: chunked\r\nContent-Length: 2"],
  ["has two lengths", "Content-Length: 2\r\nContent-Length: 3"],
  ["has the same length twice", "Content-Length: 2\r\nContent-Length: 2"],
  ["has a list of lengths", "Content-Length: 2, 2"],
  ["has a signed length", "Content-Length: +2"],
  ["has a negative length", "Content-Length: -2"],
  ["has a hexadecimal length", "Content-Length: 0x2"],
  ["has an endless length", `Content-Length: ${"9".repeat(40)}`],
  ["has an empty length", "Content-Length:"],
  ["codes its body in gzip and chunks", "Transfer-Encoding: gzip, chunked"],
  ["codes its body in chunks twice", "Transfer-Encoding: chunked, chunked"],
  ["names the identity coding", "Transfer-Encoding: identity"],
  ["codes its body in xchunked", "Transfer-Encoding: xchunked"],
  ["hides chunked behind a vertical tab", "Transfer-Encoding: \x0bchunked"],
  ["folds a line", "X-A: 1\r\n  2\r\nContent-Length: 2"],
  ["begins its headers with a blank", " X-A: 1\r\nContent-Length: 2"],
  ["puts a space before a colon", "Content-Length : 2"],
  ["sends a line without a colon", "nonsense\r\nContent-Length: 2"],
  ["sends an empty name", ": 1\r\nContent-Length: 2"],
  ["sends a name with a space", "X A: 1\r\nContent-Length: 2"],
  ["sends a NUL", "X-A: \0\r\nContent-Length: 2"],
  ["sends a bare carriage return", "X-A: 1\r2\r\nContent-Length: 2"],
  ["sends a bare line feed", "X-A: 1\nContent-Length: 2"],
  ["sends a header of 1 MB", `X-A: ${"x".repeat(1 << 20)}\r\nContent-Length: 2`],
  ["sends a name of 1 MB", `${"x".repeat(1 << 20)}: 1\r\nContent-Length: 2`],
  ["sends 10,000 headers", `${"X-A: 1\r\n".repeat(10_000)}Content-Length: 2`],
].map(([name = "", lines = ""]) => ({ name, bytes: head(lines), agent: "502" }));

const bodies: readonly BadAnswer[] = [
  {
    name: "closes within a body of known length",
    bytes: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
    closes: true,
    agent: "abort",
  },
  { name: "closes within a chunk", bytes: `${chunked}9\r\nok`, closes: true, agent: "abort" },
  { name: "closes between chunks", bytes: `${chunked}2\r\nok\r\n`, closes: true, agent: "abort" },
  {
    name: "closes before its last line end",
    bytes: `${chunked}2\r\nok\r\n0\r\n`,
    closes: true,
    agent: "abort",
  },
  {
    name: "closes within its trailers",
    bytes: `${chunked}2\r\nok\r\n0\r\nX-A: 1\r\n`,
    closes: true,
    agent: "abort",
  },
  {
    name: "sends a chunk size that is none",
    bytes: `${chunked}zz\r\nok\r\n0\r\n\r\n`,
    agent: "abort",
  },
  { name: "sends a signed chunk size", bytes: `${chunked}+2\r\nok\r\n0\r\n\r\n`, agent: "abort" },
  {
    name: "sends a chunk size that overflows",
    bytes: `${chunked}${"f".repeat(20)}\r\nok\r\n0\r\n\r\n`,
    agent: "abort",
  },
  {
    name: "sends a chunk longer than it says",
    bytes: `${chunked}1\r\nok\r\n0\r\n\r\n`,
    agent: "abort",
  },
  { name: "ends a chunk with a bare line feed", bytes: `${chunked}2\nok\n0\n\n`, agent: "abort" },
  {
    name: "sends an endless chunk extension",
    bytes: `${chunked}2;`,
    endless: "x".repeat(10_000),
    agent: "abort",
  },
  {
    name: "sends endless trailers",
    bytes: `${chunked}2\r\nok\r\n0\r\n`,
    endless: "X-A: 1\r\n".repeat(1000),
    agent: "abort",
  },
  {
    name: "sends a trailer without a colon",
    bytes: `${chunked}2\r\nok\r\n0\r\nnonsense\r\n\r\n`,
    agent: "abort",
  },
];

const informational: readonly BadAnswer[] = [
  {
    name: "switches protocols unasked",
    bytes: `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n${ok}`,
    agent: "502",
  },
  {
    name: "sends 1xx answers without an end",
    bytes: "",
    endless: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(100),
    agent: "502",
  },
  {
    name: "sends a head without an end",
    bytes: "HTTP/1.1 200 OK\r\n",
    endless: "X-A: 1\r\n".repeat(1000),
    agent: "502",
  },
  {
    name: "sends a header line without an end",
    bytes: "HTTP/1.1 200 OK\r\nX-A: ",
    endless: "x".repeat(10_000),
    agent: "502",
  },
  {
    name: "sends a status line without an end",
    bytes: "HTTP/1.1 200 ",
    endless: "x".repeat(10_000),
    agent: "502",
  },
  {
    name: "sends empty lines without an end",
    bytes: "",
    endless: "\r\n".repeat(5_000),
    agent: "502",
  },
];

/** Odd, and to be read in one way only. */
const fine: readonly BadAnswer[] = [
  {
    name: "leaves the reason out",
    bytes: "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
    agent: whole,
  },
  {
    name: "leaves the space before the reason out too",
    bytes: "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
    agent: whole,
  },
  {
    name: "speaks HTTP/1.0 and closes",
    bytes: "HTTP/1.0 200 OK\r\n\r\nok",
    closes: true,
    agent: whole,
  },
  {
    name: "gives no length and closes",
    bytes: "HTTP/1.1 200 OK\r\n\r\nok",
    closes: true,
    agent: whole,
  },
  {
    name: "sends a few 1xx answers first",
    bytes: `HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n${ok}`,
    agent: whole,
  },
  {
    name: "sends its answer byte by byte",
    bytes: `${chunked}1;x=y\r\no\r\n1\r\nk\r\n0\r\nX-T: 1\r\n\r\n`.split(""),
    agent: whole,
  },
  {
    name: "gives a body to a 204",
    bytes: "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
    agent: { status: 204, body: "" },
  },
  { name: "sends bytes behind its answer", bytes: `${ok}${ok.replace("ok", "no")}`, agent: whole },
  {
    name: "sends bytes behind its answer a moment later",
    bytes: [ok, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"],
    agent: whole,
  },
  { name: "sends rubbish behind its answer", bytes: `${ok}\0\0\0\0`, agent: whole },
  {
    name: "sends bytes behind its last chunk",
    bytes: `${chunked}2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno`,
    agent: whole,
  },
];

export const badAnswers: readonly BadAnswer[] = [
  ...otherProtocols,
  ...statusLines,
  ...heads,
  ...bodies,
  ...informational,
  ...fine,
];
