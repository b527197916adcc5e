// axios over its http adapter, the default one in Node.
import { createRequire } from "node:module";
import { Readable } from "node:stream";
import { packages, play, told, url } from "./http_scenes.mjs";

const axios = createRequire(`${packages}/`)("axios");
const client = axios.create({ baseURL: url, validateStatus: () => true });

await play({
  async request(method, path, headers = {}, body, { redirects = true, timeout = 20_000 } = {}) {
    const answer = await client.request({
      method,
      url: path,
      headers,
      data: body === undefined || Buffer.isBuffer(body) ? body : Readable.from(body),
      responseType: "arraybuffer",
      timeout,
      ...(redirects ? {} : { maxRedirects: 0 }),
    });
    const pairs = Object.entries(answer.headers).map(([name, value]) => [name, String(value)]);
    return told(answer.status, pairs, Buffer.from(answer.data));
  },
  stream: async (path) => (await client.get(path, { responseType: "stream" })).data,
  more: () => ({
    json: async () => (await client.post("/echo", { a: "ä" })).data,
    form: async () => (await client.post("/echo", new URLSearchParams({ a: "ä b" }))).data,
  }),
});
