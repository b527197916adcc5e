// Whom a request is for: Host, and a target that names one too. The listener serves `a` on port 80 and `[::1]`.
import { H, reaches, refused } from "./entry.ts";
import type { Entry } from "./entry.ts";

function host(value: string): string {
  return `GET /h HTTP/1.1\r\nHost: ${value}\r\n\r\n`;
}

function target(value: string, named = "a"): string {
  return `GET ${value} HTTP/1.1\r\nHost: ${named}\r\n\r\n`;
}

const names: readonly [name: string, value: string][] = [
  ["another name", "b"],
  ["a name below", "x.a"],
  ["a name above", "a.x"],
  ["a path", "a/b"],
  ["a slash", "a/"],
  ["a query", "a?b"],
  ["a fragment", "a#b"],
  ["a backslash", "a\\b"],
  ["a user", "u@a"],
  ["a user and a password", "u:p@a"],
  ["a scheme", "http://a"],
  ["two names", "a, b"],
  ["two names with a space", "a b"],
  ["two names with a tab", "a\tb"],
  ["two ports", "a:80:80"],
  ["another port", "a:81"],
  ["an impossible port", "a:99999"],
  ["port 0", "a:0"],
  ["an empty port", "a:"],
  ["a signed port", "a:+80"],
  ["a port in hexadecimal", "a:0x50"],
  ["a port that is a name", "a:http"],
  ["a port with a space before it", "a: 80"],
  ["a port of six digits", "a:000080"],
  ["two final dots", "a.."],
  ["a dot before it", ".a"],
  ["a percent-encoded letter", "%61"],
  ["a percent-encoded dot", "a%2eb"],
  ["quotes", '"a"'],
  ["a NUL", "a\x00"],
  ["a vertical tab", "a\x0b"],
  ["bytes over 127", "\xc3\xa4"],
  ["a wide letter", "\xef\xbd\x81"],
  ["an address without brackets", "::1"],
  ["an address with a zone", "[::1%25eth0]"],
  ["an open bracket", "[::1"],
  ["something behind a bracket", "[::1]a"],
  ["an address of the future", "[v1.a]"],
  ["an asterisk", "*"],
  ["a name of 300 letters", "a".repeat(300)],
];

export const hosts: readonly Entry[] = [
  ...names.map(([name, value]) => refused(`a Host with ${name}`, host(value))),
  refused("no Host", `GET /h HTTP/1.1\r\n\r\n`),
  refused("no Host in HTTP/1.0", `GET /h HTTP/1.0\r\n\r\n`),
  refused("an empty Host", `GET /h HTTP/1.1\r\nHost:\r\n\r\n`),
  refused("a blank Host", `GET /h HTTP/1.1\r\nHost:   \r\n\r\n`),
  refused("two Hosts", `GET /h HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n`),
  refused("two equal Hosts", `GET /h HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n`),
  refused("a second Host in other letters", `GET /h HTTP/1.1\r\nHost: a\r\nHOST: b\r\n\r\n`),
  refused("a folded Host", `GET /h HTTP/1.1\r\nHost: a\r\n .b\r\n\r\n`),
  refused("a Host that Connection names", `GET /h HTTP/1.1\r\n${H}Connection: host\r\n\r\n`),
  refused("a Host in the twin of the header", `GET /h HTTP/1.1\r\nHo_st: a\r\n\r\n`),

  refused("an absolute target for another host", target("http://b/h")),
  refused("an absolute target with another port", target("http://a:81/h")),
  refused("an absolute target with a port that Host lacks", target("http://a:80/h")),
  refused("an absolute target with a user", target("http://u@a/h")),
  refused("an absolute target with a user that looks like the host", target("http://a:80@b/h")),
  refused("an absolute target with a final dot that Host lacks", target("http://a./h")),
  refused("an absolute target with the scheme of TLS", target("https://a/h")),
  refused("an absolute target of another scheme", target("ftp://a/h")),
  refused("an absolute target with one slash", target("http:/a/h")),
  refused("an absolute target with three slashes", target("http:///a/h")),
  refused("an absolute target with backslashes", target("http:\\\\a\\h")),
  refused("an absolute target without a host", target("http://")),
  refused("an absolute target with a fragment", target("http://a/h#f")),
  refused("an absolute target with an encoded host", target("http://%61/h")),
  refused("an absolute target with a tab", target("http://a\t/h")),
  refused("an authority where a path should be", target("a:80")),
  {
    ...refused("a target that names its host after two slashes", target("//b/h")),
    ungoverned: [{ line: "GET //b/h" }],
  },
  refused("an asterisk", `OPTIONS * HTTP/1.1\r\n${H}\r\n`),
  refused("an asterisk with another method", target("*")),
  refused("a target without a slash", target("h")),
  refused("a target that is a query", target("?h")),
  refused("a mail address", target("mailto:a@b")),

  reaches("a Host in capitals", host("A"), { line: "GET /h" }),
  reaches("a Host with its port", host("a:80"), { line: "GET /h" }),
  reaches("a Host with a final dot", host("a."), { line: "GET /h" }),
  reaches("a Host between blanks", host(" \ta\t "), { line: "GET /h" }),
  reaches("a Host that is an address", host("[::1]"), { line: "GET /h" }),
  reaches("an absolute target that agrees", target("http://a/h?x=1"), { line: "GET /h?x=1" }),
  reaches("an absolute target in capitals", target("HTTP://A/h"), { line: "GET /h" }),
  reaches("an absolute target without a path", target("http://a"), { line: "GET /" }),
  reaches("an absolute target with a query alone", target("http://a?x=1"), { line: "GET /?x=1" }),
  reaches("an absolute target with a port as Host has it", target("http://a:80/h", "a:80"), {
    line: "GET /h",
  }),
];
