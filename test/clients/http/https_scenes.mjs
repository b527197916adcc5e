// node:https (and node:http where the address says so), with the agent it uses by itself.
import http from "node:http";
import https from "node:https";
import { play, told, url } from "./http_scenes.mjs";

const base = new URL(url);
const { request: send } = base.protocol === "https:" ? https : http;

function open(method, path, headers, body, timeout) {
  return new Promise((resolve, reject) => {
    const outgoing = send(url + path, { method, headers });
    const informed = [];
    outgoing.on("information", ({ statusCode }) => informed.push(statusCode));
    outgoing.on("error", reject);
    outgoing.on("response", (incoming) => resolve({ incoming, outgoing, informed }));
    if (timeout !== undefined)
      outgoing.setTimeout(timeout, () => outgoing.destroy(new Error("gave up")));
    if (headers.expect !== undefined) outgoing.on("continue", () => outgoing.end(body));
    else if (body === undefined || Buffer.isBuffer(body)) outgoing.end(body);
    else
      void (async () => {
        for await (const piece of body) outgoing.write(piece);
        outgoing.end();
      })().catch(reject);
    if (headers.expect !== undefined) outgoing.flushHeaders();
  });
}

async function request(method, path, headers = {}, body, { timeout } = {}) {
  const { incoming, outgoing, informed } = await open(method, path, headers, body, timeout);
  const chunks = [];
  for await (const chunk of incoming) chunks.push(chunk);
  const pairs = [];
  for (let at = 0; at < incoming.rawHeaders.length; at += 2)
    pairs.push(incoming.rawHeaders.slice(at, at + 2));
  return {
    ...told(incoming.statusCode, pairs, Buffer.concat(chunks)),
    message: incoming.statusMessage,
    trailers: incoming.trailers,
    informed,
    reused: outgoing.reusedSocket,
    incoming: undefined,
  };
}

/** Whether a socket is used again depends on what came before it; it is a scene of its own. */
const plain = async (...args) => ({ ...(await request(...args)), reused: undefined });

await play({
  request: plain,
  stream: async (path) => (await open("GET", path, {}, undefined)).incoming,
  more: () => ({
    reused: async () => [
      (await request("GET", "/json")).status,
      (await request("GET", "/json")).reused,
      (await request("POST", "/echo", {}, Buffer.from("x"))).reused,
    ],
    continue: () => plain("POST", "/echo", { expect: "100-continue" }, Buffer.alloc(5_000, "x")),
    "refused-early": () =>
      plain("POST", "/too-large", { expect: "100-continue" }, Buffer.alloc(5_000, "x")),
  }),
});
