// The scenes that every HTTP client of Node plays, over an adapter of a few lines for each client.
// usage of each script: script.mjs PACKAGES URL TOKEN; prints one JSON object, a result for each scene.
import { createHash, randomUUID } from "node:crypto";

export const [packages, url, token] = process.argv.slice(2);

const hop = new Set(["date", "connection", "keep-alive", "transfer-encoding"]);
const text = "äöü and a line\n".repeat(50);
const pattern = Buffer.alloc(1024 * 1024);
for (let at = 0; at < pattern.length; at += 4)
  pattern.writeUInt32LE(Math.imul(at, 2_654_435_761) >>> 0, at);

const digest = (body) => createHash("sha256").update(body).digest("hex").slice(0, 16);

/** @param headers list of pairs */
export function told(status, headers, body) {
  const kept = headers
    .map(([name, value]) => [name.toLowerCase(), value])
    .filter(([name]) => !hop.has(name))
    .sort();
  const shown =
    body.length < 1_500 ? body.toString("utf8") : `${body.length} bytes ${digest(body)}`;
  return { status, headers: kept, body: shown };
}

export async function* pieces() {
  for (let at = 0; at < 200_000; at += 9_000)
    yield pattern.subarray(at, Math.min(at + 9_000, 200_000));
}

/** The first event arrives while the origin still waits for somebody who has read it. */
async function events(http) {
  const id = randomUUID();
  const stream = await http.stream(`/events?id=${id}`);
  let read = "";
  let released;
  for await (const chunk of stream) {
    read += Buffer.from(chunk).toString("utf8");
    if (released === undefined && read.includes("\n\n"))
      released = [read, (await http.request("POST", `/release?id=${id}`)).status];
  }
  return { released, read };
}

function scenes(http) {
  const ask = (...args) => http.request(...args);
  const json = { "content-type": "application/json" };
  return {
    get: () => ask("GET", "/json?a=1&b=two%20words&c=%C3%A9&d=a%2Fb"),
    head: () => ask("HEAD", "/json"),
    json: () => ask("POST", "/echo", json, Buffer.from(JSON.stringify({ a: [1, null] }))),
    text: () =>
      ask(
        "PUT",
        encodeURI("/echo/path with/é?x=ü"),
        { "content-type": "text/plain" },
        Buffer.from(text),
      ),
    empty: () => ask("POST", "/echo", {}, Buffer.alloc(0)),
    patch: () => ask("PATCH", "/echo", json, Buffer.from("{}")),
    delete: () => ask("DELETE", "/echo"),
    options: () => ask("OPTIONS", "/echo"),
    seen: () =>
      ask("GET", "/seen", { "X-Own": "mine", "Accept-Language": "de, en;q=0.5", "X-Empty": "" }),
    "megabyte-down": () => ask("GET", "/big"),
    "megabyte-both": () =>
      ask("POST", "/mirror", { "content-type": "application/octet-stream" }, pattern),
    "chunked-up": () => ask("POST", "/echo", {}, pieces()),
    "chunked-down": () => ask("GET", "/chunks"),
    gzip: () => ask("GET", "/gzip", { "accept-encoding": "gzip" }),
    events: () => events(http),
    redirects: () => ask("GET", "/redirect/3"),
    "redirect-kept": () => ask("POST", "/redirect/same", {}, Buffer.from("kept")),
    "redirect-seen": () => ask("GET", "/redirect/away", {}, undefined, { redirects: false }),
    "no-content": () => ask("GET", "/status/204"),
    "not-found": () => ask("GET", "/status/404"),
    "too-many": () => ask("GET", "/status/429"),
    "server-error": () => ask("GET", "/status/500"),
    unavailable: () => ask("POST", "/status/503", {}, Buffer.from("x")),
    etag: async () => [
      await ask("GET", "/etag"),
      await ask("GET", "/etag", { "if-none-match": '"v1-e"' }),
    ],
    range: async () => [
      await ask("GET", "/range", { range: "bytes=100-299" }),
      await ask("GET", "/range", { range: "bytes=65000-" }),
      await ask("GET", "/range", { range: "bytes=99999-" }),
    ],
    trailers: () => ask("GET", "/trailers"),
    slow: () => ask("GET", "/slow"),
    "gives-up": () => ask("GET", "/never", {}, undefined, { timeout: 300 }),
    cut: () => ask("GET", "/cut"),
    "after-cut": () => ask("GET", "/json"),
    cookies: async () => [
      await ask("GET", "/cookies/set"),
      await ask("GET", "/cookies", { cookie: "a=1; b=two" }),
    ],
    "large-answer-header": () => ask("GET", "/large"),
    "large-request-header": () => ask("GET", "/seen", { "x-large": "q".repeat(8_000) }),
    credential: () => ask("GET", "/private", { authorization: `Bearer ${token}` }),
    parallel: () =>
      Promise.all(Array.from({ length: 16 }, (_, at) => ask("GET", `/json?at=${at}`))),
    ...http.more?.(),
  };
}

/** What is raised, by class and code, with the codes of its causes: never by words, which name addresses. */
function failure(error) {
  const names = [];
  for (let one = error; one instanceof Error && names.length < 4; one = one.cause)
    names.push(one.code ?? one.name);
  return { error: names };
}

export async function play(http) {
  const results = {};
  for (const [name, scene] of Object.entries(scenes(http))) {
    try {
      results[name] = await scene();
    } catch (error) {
      results[name] = failure(error);
    }
  }
  await http.close?.();
  process.stdout.write(JSON.stringify(results), () => process.exit(0));
}
