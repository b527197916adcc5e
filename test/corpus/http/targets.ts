// Paths and queries: what has one reading goes on in one spelling, what has two is refused where a rule reads it.
import { H, reaches } from "./entry.ts";
import type { Entry } from "./entry.ts";

function get(target: string): string {
  return `GET ${target} HTTP/1.1\r\n${H}\r\n`;
}

/** Refused where a path or query rule exists; elsewhere sent as it came. */
function ambiguous(target: string): Entry {
  const name = `the target ${target.length > 60 ? `${target.slice(0, 57)}...` : target}`;
  return { name, bytes: get(target), sees: [], ungoverned: [{ line: `GET ${target}` }] };
}

/** Refused wherever it stands: no server can be sent this. */
function impossible(target: string): Entry {
  return { name: `the target ${JSON.stringify(target)}`, bytes: get(target), sees: [] };
}

function becomes(target: string, sent: string): Entry {
  return reaches(`the target ${target}`, get(target), { line: `GET ${sent}` });
}

const twoReadings: Readonly<Record<string, readonly string[]>> = {
  "Segments that some servers resolve": [
    "/..",
    "/../a",
    "/a/..",
    "/a/../b",
    "/a/./b",
    "/.",
    "/a/.",
    "/./",
    "/a/b/../../c",
    "/a//b",
    "//",
    "//a",
    "/a//",
    "///a",
  ],
  "The same, encoded once, twice, and half": [
    "/%2e%2e/a",
    "/a/%2E%2e/b",
    "/a/.%2e/b",
    "/a/%2e./b",
    "/%2e",
    "/a%2eb",
    "/a/%252e%252e/b",
    "/a%2fb",
    "/a%2Fb",
    "/a%252fb",
    "/%2f/a",
    "/a/..%2f..%2fb",
    "/%2fb",
    "/a%5cb",
    "/a%5Cb",
    "/a/..%5cb",
    "/%5c%5cb",
    "/a\\b",
    "/a\\..\\b",
    "/\\a",
  ],
  "Dots and blanks that some file systems drop": [
    "/...",
    "/a/.../b",
    "/a/..%20/b",
    "/a/%20../b",
    "/a/.%20/b",
    "/a/%20/b",
    "/.%20/a",
  ],
  Parameters: [
    "/a;b",
    "/a;b=c/d",
    "/;/a",
    "/a;/../b",
    "/a/..;/b",
    "/a%3bb",
    "/a%3Bb/c",
    "/a;jsessionid=1",
  ],
  "Percent signs that escape nothing, or twice": [
    "/a%",
    "/a%2",
    "/a%zz",
    "/a%%41",
    "/a%u0041",
    "/a%2541",
    "/a%25%34%31",
    "/%25%32%65",
  ],
  "Bytes that are no UTF-8: overlong, cut off, surrogates, over the end, Latin-1": [
    "/a%c0%af",
    "/a%c0%2f",
    "/%c0%ae%c0%ae/a",
    "/%e0%80%af",
    "/%f0%80%80%af",
    "/%c1%9c",
    "/a%c3",
    "/a%ed%a0%80",
    "/a%f4%90%80%80",
    "/a%ff",
    "/a%fe",
    "/a%e9",
    "/a%80",
    "/a%f8%80%80%80%af",
  ],
  "Controls and blanks": [
    "/a%00",
    "/a%00.html",
    "/a%0a",
    "/a%0d%0aHost:%20b",
    "/a%09",
    "/a%7f",
    "/a%1b",
    "/a%c2%85",
  ],
  "Look-alikes, and letters that are not seen": [
    "/a%ef%bc%8fb",
    "/%ef%bc%8e%ef%bc%8e/a",
    "/a%e2%88%95b",
    "/a%e2%81%84b",
    "/a%ef%bc%bcb",
    "/a%e2%80%8bb",
    "/a%e2%80%aeb",
    "/a%ef%bb%bfb",
    "/a%c2%adb",
    "/a%e2%80%a8b",
    "/%e2%80%a5/a",
  ],
};

export const targets: readonly Entry[] = Object.values(twoReadings).flat().map(ambiguous);

export const impossibleTargets: readonly Entry[] = [
  "/a#b",
  "/#",
  "/a?b#c",
  "/a\tb",
  "/a\x00b",
  "/a\x7fb",
  "/a\x0bb",
  "/\xe4",
  "/a\xc3\xa4",
  "/?a=\xe4",
  "/?a=\xff",
  "/a\rb",
  "/a\nb",
].map(impossible);

export const spellings: readonly Entry[] = [
  becomes("/", "/"),
  becomes("/v1/orders/", "/v1/orders/"),
  becomes("/a..b/..c/d..", "/a..b/..c/d.."),
  becomes("/%61dmin", "/admin"),
  becomes("/%41%5a%61%7a%30%39%2d%5f%7e", "/AZaz09-_~"),
  becomes("/a%20b", "/a%20b"),
  becomes("/caf%c3%a9", "/caf%C3%A9"),
  becomes("/%F0%9F%98%80", "/%F0%9F%98%80"),
  becomes("/users/@me/x:verb/a,b/(c)/!'*$&=", "/users/@me/x:verb/a,b/(c)/!'*$&="),
  becomes(
    "/users/%40me/x%3averb/a%2Cb/%28c%29/%21%27%2A%24%26%3D",
    "/users/@me/x:verb/a,b/(c)/!'*$&=",
  ),
  becomes("/a+b", "/a%2Bb"),
  becomes("/a%2bb", "/a%2Bb"),
  becomes("/a%23b%3fc", "/a%23b%3Fc"),
  becomes("/100%25", "/100%25"),
  becomes('/a"<>^`{|}[b]', "/a%22%3C%3E%5E%60%7B%7C%7D%5Bb%5D"),

  becomes("/?", "/?"),
  becomes("/a?b", "/a?b"),
  becomes("/a?b=1&b=2&c", "/a?b=1&b=2&c"),
  becomes("/a?b=/../c//d?e", "/a?b=/../c//d?e"),
  becomes("/a?b=%2f%2e%2E%2f", "/a?b=%2F..%2F"),
  becomes("/a?b=1+2", "/a?b=1%202"),
  becomes("/a?b=1%2b2%202", "/a?b=1%2B2%202"),
  becomes("/a?%62=%31", "/a?b=1"),
  becomes("/a?b=%26c%3d1&d%3De=f", "/a?b=%26c%3D1&d%3De=f"),
  becomes('/a?b[]=1&c={d}|^`<>"', "/a?b%5B%5D=1&c=%7Bd%7D%7C%5E%60%3C%3E%22"),
  becomes("/a?b=c\\d", "/a?b=c%5Cd"),
  becomes("/a?b=%c3%a9", "/a?b=%C3%A9"),
  becomes("/a?b=%0d%0aHost:%20c", "/a?b=%0D%0AHost:%20c"),
  becomes("/a?b==&=c&&d=", "/a?b==&=c&&d="),
  becomes("/a?redirect=https%3A%2F%2Fx.example%2F", "/a?redirect=https%3A%2F%2Fx.example%2F"),
  ambiguous("/a?b;c"),
  ambiguous("/a?b=1;c=2"),
  ambiguous("/a?b=%"),
  ambiguous("/a?b=%zz"),
  ambiguous("/a?b=%E9"),
  ambiguous("/a?b=%C0%AF"),
  ambiguous("/a?b=%00"),
  ambiguous("/a?b%00=c"),
  ambiguous(`/?${"a&".repeat(1001)}`),
];
