// Request lines, header lines and their ends.
import { H, reaches, refused, smuggled } from "./entry.ts";
import type { Entry } from "./entry.ts";

function headers(lines: string): string {
  return `GET /h HTTP/1.1\r\n${H}${lines}\r\n\r\n`;
}

const lines: readonly [name: string, line: string][] = [
  ["a bare line feed between headers", "X-A: 1\nX-B: 2"],
  ["a bare carriage return in a value", "X-A: 1\rX-B: 2"],
  ["a carriage return before the line end", "X-A: 1\r"],
  ["a NUL in a value", "X-A: 1\x002"],
  ["an escape in a value", "X-A: \x1b[31m"],
  ["a delete in a value", "X-A: a\x7fb"],
  ["a line without a colon", "nonsense"],
  ["a line of blanks", "  "],
  ["a folded line", "X-A: 1\r\n  2"],
  ["a line folded with a tab", "X-A: 1\r\n\t2"],
  ["a name with a space", "X A: 1"],
  ["a space before the colon", "X-A : 1"],
  ["a tab before the colon", "X-A\t: 1"],
  ["an empty name", ": 1"],
  ["a name in brackets", "(X-A): 1"],
  ["a name with a slash", "X/A: 1"],
  ["a name with quotes", '"X-A": 1'],
  ["a name with a bracket", "X[A]: 1"],
  ["a name with bytes over 127", "X-\xe4: 1"],
  ["a name with a NUL", "X-A\x00: 1"],
  ["a name with an at sign", "X@A: 1"],
];

/** Copies of reserved names that CGI, WSGI and PHP read as the real ones: `-`, `_` and `.` all become `_`. */
const twins: readonly string[] = [
  "authorization_",
  "x_api_key",
  "X-Api_Key",
  "api_key",
  "x.api.key",
  "x_goog_api_key",
  "proxy_authorization",
  "x_forwarded_for",
  "X_Forwarded-Host",
  "x_http_method_override",
  "X_Original_URL",
  "content_type",
  "content_encoding",
  "chaperone_chain",
  "keep_alive",
];

export const heads: readonly Entry[] = [
  ...lines.map(([name, line]) => refused(name, headers(line))),
  refused("a first header line that begins with a space", `GET / HTTP/1.1\r\n Host: a\r\n\r\n`),
  refused("a bare line feed at the end of the head", `GET / HTTP/1.1\r\n${H}\n`),
  refused("a bare line feed behind the request line", `GET / HTTP/1.1\n${H}\r\n`),
  refused("bare line feeds alone", `GET / HTTP/1.1\nHost: a\n\n`),
  refused("a bare carriage return behind the request line", `GET / HTTP/1.1\r${H}\r\n`),
  ...twins
    .filter((twin) => twin !== "authorization_")
    .map((twin) => refused(`the twin ${twin} of a reserved header`, headers(`${twin}: mine`))),

  refused("a method in small letters", `get / HTTP/1.1\r\n${H}\r\n`),
  refused("a method in mixed letters", `Get / HTTP/1.1\r\n${H}\r\n`),
  refused("a method with a space before it", ` GET / HTTP/1.1\r\n${H}\r\n`),
  refused("a method that is no token", `GE(T / HTTP/1.1\r\n${H}\r\n`),
  refused("an empty method", ` / HTTP/1.1\r\n${H}\r\n`),
  refused("a method of 100 letters", `${"A".repeat(100)} / HTTP/1.1\r\n${H}\r\n`),
  refused("TRACE, whose answer would show the credential", `TRACE / HTTP/1.1\r\n${H}\r\n`),
  refused("CONNECT where no tunnel is served", `CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n`),
  refused("a request line with two spaces", `GET  /two HTTP/1.1\r\n${H}\r\n`),
  refused("a request line with a tab", `GET\t/tab HTTP/1.1\r\n${H}\r\n`),
  refused("a request line with a tab before the version", `GET /tab\tHTTP/1.1\r\n${H}\r\n`),
  refused("a request line with a space behind the version", `GET /a HTTP/1.1 \r\n${H}\r\n`),
  refused("a request line with a vertical tab", `GET\x0b/a\x0bHTTP/1.1\r\n${H}\r\n`),
  refused("a request line with a NUL", `GET /a\x00 HTTP/1.1\r\n${H}\r\n`),
  refused("a target with a space in it", `GET /a b HTTP/1.1\r\n${H}\r\n`),
  refused("a request line without a target", `GET HTTP/1.1\r\n${H}\r\n`),

  refused("HTTP/0.9", `GET /\r\n\r\n`),
  refused("HTTP/0.9 with a version", `GET / HTTP/0.9\r\n${H}\r\n`),
  refused("HTTP/1.2", `GET / HTTP/1.2\r\n${H}\r\n`),
  refused("HTTP/1.9", `GET / HTTP/1.9\r\n${H}\r\n`),
  refused("HTTP/1.10", `GET / HTTP/1.10\r\n${H}\r\n`),
  refused("HTTP/01.1", `GET / HTTP/01.1\r\n${H}\r\n`),
  refused("HTTP/1", `GET / HTTP/1\r\n${H}\r\n`),
  refused("HTTP/2.0 in a request line", `GET / HTTP/2.0\r\n${H}\r\n`),
  refused("HTTP/3.0 in a request line", `GET / HTTP/3.0\r\n${H}\r\n`),
  refused("http/1.1 in small letters", `GET / http/1.1\r\n${H}\r\n`),
  { ...refused("the preface of HTTP/2", `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`), isOther: true },
  refused("another protocol's version", `GET / RTSP/1.0\r\n${H}\r\n`),
  refused("a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
  refused("an SSH banner", "SSH-2.0-OpenSSH_9.2\r\n"),
  refused("an upgrade to something else", headers("Connection: Upgrade\r\nUpgrade: smuggle/1")),
  refused("an expectation that is not 100-continue", headers("Expect: 200-ok")),
  refused("two expectations", headers("Expect: 100-continue, 200-ok")),
  refused("a header that takes another method", headers("X-HTTP-Method-Override: DELETE")),
  refused("a header that takes another method, second spelling", headers("X-HTTP-Method: DELETE")),
  refused("a header that takes another method, third spelling", headers("X-Method-Override: PUT")),
  refused("a header that takes another path", headers("X-Original-URL: /smuggled")),
  refused("a header that rewrites the path", headers("X-Rewrite-URL: /smuggled")),

  reaches(
    "an offer of h2c, which is declined",
    headers("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"),
    { line: "GET /h", has: ["connection: keep-alive"], lacks: ["upgrade", "http2-settings"] },
  ),
  reaches("a plain request", `GET /plain HTTP/1.1\r\n${H}\r\n`, { line: "GET /plain" }),
  reaches("bytes over 127 in a value", headers("X-A: \xe4\xc3\xa4"), {
    line: "GET /h",
    has: ["x-a: \xe4\xc3\xa4"],
  }),
  reaches("an empty value and blanks around another", headers("X-A:\r\nX-B: \t b \t"), {
    line: "GET /h",
    has: ["x-a: ", "x-b: b"],
  }),
  reaches("a name with an underscore that is nobody's twin", headers("request_id: 1"), {
    line: "GET /h",
    has: ["request_id: 1"],
  }),
  reaches(
    "credentials, claims and hop-by-hop headers of the agent",
    headers(
      "Authorization: mine\r\nX-Api-Key: mine\r\napi-key: mine\r\nX-Goog-Api-Key: mine\r\nProxy-Authorization: mine\r\nX-Forwarded-For: 1\r\nX-Forwarded-Anything: 1\r\nForwarded: for=1\r\nTE: trailers\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nX-Keep: 2",
    ),
    {
      line: "GET /h",
      has: ["x-keep: 2"],
      lacks: [
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "proxy-authorization",
        "x-forwarded-for",
        "x-forwarded-anything",
        "forwarded",
        "te",
        "keep-alive",
        "proxy-connection",
      ],
    },
  ),
  reaches(
    "headers that Connection names, in any letters and lines",
    headers(
      "Connection: X-Drop\r\nX-Drop: 1\r\nconnection: close, x-also\r\nX-ALSO: 2\r\nX-Keep: 3",
    ),
    { line: "GET /h", has: ["x-keep: 3"], lacks: ["x-drop", "x-also"] },
  ),
  reaches("HTTP/1.0 with a Host", `GET /old HTTP/1.0\r\n${H}\r\n`, { line: "GET /old" }),
  reaches(
    "HTTP/1.0 that wants to go on, where we close,",
    `GET /old HTTP/1.0\r\n${H}Connection: keep-alive\r\n\r\nGET /older HTTP/1.0\r\n${H}Connection: keep-alive\r\n\r\n`,
    { line: "GET /old" },
  ),
  reaches(
    "an expectation of 100-continue",
    `POST /e HTTP/1.1\r\n${H}Expect: 100-Continue\r\nContent-Length: 5\r\n\r\nhello`,
    { line: "POST /e", body: "hello", lacks: ["expect"] },
  ),
  reaches("an empty line before a request", `\r\nGET /line HTTP/1.1\r\n${H}\r\n`, {
    line: "GET /line",
  }),
  reaches(
    "a request behind one that closes",
    `GET /last HTTP/1.1\r\n${H}Connection: close\r\n\r\n${smuggled}`,
    { line: "GET /last" },
  ),
];
