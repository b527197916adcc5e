// curl, a process for each request, as a script would call it; over HTTP/2 where CURL_HTTP says --http2.
import { execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { play, told, url } from "./http_scenes.mjs";

const version = process.env["CURL_HTTP"] ?? "--http1.1";
const folder = await mkdtemp(join(tmpdir(), "curl-"));
let count = 0;

/** @returns exit status of curl, status line and headers of the last answer, and its body */
function curl(args, input) {
  const at = ++count;
  const [head, body] = [join(folder, `head.${at}`), join(folder, `body.${at}`)];
  const fixed = ["--silent", version, "--max-time", "20", "--write-out", "%{json}"];
  return new Promise((resolve, reject) => {
    const all = [...fixed, "--dump-header", head, "--output", body, ...args];
    const child = execFile("curl", all, (error, stdout) => {
      if (error !== null && typeof error.code !== "number") {
        reject(error);
        return;
      }
      const read = (file) => readFile(file).catch(() => Buffer.alloc(0));
      void Promise.all([read(head), read(body)]).then(([first, rest]) =>
        resolve({
          exit: error === null ? 0 : error.code,
          info: JSON.parse(stdout),
          head: first.toString("latin1"),
          body: rest,
        }),
      );
    });
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
  });
}

/** Fields of the last head that was not informational, trailers among them, as curl writes them. */
function fieldsOf(head) {
  const blocks = head
    .split(/\r\n(?=HTTP\/)/)
    .filter((block) => !/^HTTP\/\S+ (1\d\d|200 Connection)/i.test(block));
  return (blocks.at(-1) ?? "")
    .split("\r\n")
    .slice(1)
    .filter((line) => line !== "")
    .map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]);
}

async function request(
  method,
  path,
  headers = {},
  body,
  { redirects = true, timeout, more = [] } = {},
) {
  const args = [url + path, ...more];
  if (method === "HEAD") args.push("--head");
  else if (method !== "GET" && !(method === "POST" && body !== undefined))
    args.push("--request", method);
  for (const [name, value] of Object.entries(headers))
    args.push("--header", value === "" ? `${name};` : `${name}: ${value}`);
  let input;
  if (Buffer.isBuffer(body)) {
    const file = join(folder, `sent.${count}`);
    await writeFile(file, body);
    args.push("--data-binary", `@${file}`);
  } else if (body !== undefined) {
    const parts = [];
    for await (const part of body) parts.push(part);
    input = Buffer.concat(parts);
    args.push("--header", "transfer-encoding: chunked", "--data-binary", "@-");
  }
  if (redirects) args.push("--location");
  if (timeout !== undefined) args.push("--max-time", String(timeout / 1_000));
  const { exit, info, head, body: answer } = await curl(args, input);
  // What curl writes for --head is the head itself.
  const kept = method === "HEAD" ? Buffer.alloc(0) : answer;
  const answered = told(info.response_code, fieldsOf(head), kept);
  const informed = headers.expect === undefined ? {} : { informed: /^HTTP\/\S+ 100/m.test(head) };
  return { ...answered, exit, hops: info.num_redirects, ...informed };
}

await play({
  request,
  stream: async (path) => spawn("curl", ["--silent", version, "--no-buffer", url + path]).stdout,
  more: () => ({
    compressed: () => request("GET", "/gzip", {}, undefined, { more: ["--compressed"] }),
    form: () =>
      request("POST", "/echo", {}, undefined, {
        more: ["--data-urlencode", "a=ä b", "--data", "c=d"],
      }),
    upload: async () => {
      const file = join(folder, "upload");
      await writeFile(file, "uploaded");
      return request("PUT", "/echo", {}, undefined, { more: ["--upload-file", file] });
    },
    jar: async () => {
      const jar = join(folder, "jar");
      const more = ["--cookie", jar, "--cookie-jar", jar];
      return [
        await request("GET", "/cookies/set", {}, undefined, { more }),
        await request("GET", "/cookies", {}, undefined, { more }),
      ];
    },
    "fails-on": () => request("GET", "/status/500", {}, undefined, { more: ["--fail"] }),
    continue: () => request("POST", "/echo", { expect: "100-continue" }, Buffer.alloc(5_000, "x")),
    "refused-early": () =>
      request("POST", "/too-large", { expect: "100-continue" }, Buffer.alloc(5_000, "x")),
  }),
  close: () => rm(folder, { recursive: true }),
});
