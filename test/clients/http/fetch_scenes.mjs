// Node's own fetch.
import { play, told, url } from "./http_scenes.mjs";

await play({
  async request(method, path, headers = {}, body, { redirects = true, timeout } = {}) {
    const isStream = body !== undefined && !Buffer.isBuffer(body);
    const answer = await fetch(url + path, {
      method,
      headers,
      body: isStream ? ReadableStream.from(body) : body,
      ...(isStream ? { duplex: "half" } : {}),
      redirect: redirects ? "follow" : "manual",
      ...(timeout === undefined ? {} : { signal: AbortSignal.timeout(timeout) }),
    });
    const bytes = Buffer.from(await answer.arrayBuffer());
    return { ...told(answer.status, [...answer.headers], bytes), redirected: answer.redirected };
  },
  stream: async (path) => (await fetch(url + path)).body,
});
