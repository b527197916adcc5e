// Node's server and undici with nothing between them, in a process of its own: what any proxy made of these two could reach at best.
import { once } from "node:events";
import { createServer } from "node:http";
import { Pool } from "undici";

const pool = new Pool(`http://127.0.0.1:${Number(process.argv[2])}`, { connections: 128 });
const server = createServer((request, response) => {
  const headers: string[] = [];
  for (let at = 0; at + 1 < request.rawHeaders.length; at += 2) {
    const name = request.rawHeaders[at]?.toLowerCase() ?? "";
    if (name !== "host" && name !== "connection")
      headers.push(name, request.rawHeaders[at + 1] ?? "");
  }
  headers.push("authorization", "Bearer real");
  const method = request.method ?? "GET";
  pool.dispatch(
    { path: request.url ?? "/", method, headers, body: method === "GET" ? null : request },
    {
      onRequestStart() {},
      onResponseStart(_controller, status, fields) {
        const flat: string[] = [];
        for (const name in fields) flat.push(name, String(fields[name]));
        response.writeHead(status, flat);
      },
      onResponseData(_controller, chunk) {
        response.write(chunk);
      },
      onResponseEnd() {
        response.end();
      },
      onResponseError(_controller, error) {
        response.destroy(error);
      },
    },
  );
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
const address = server.address();
if (address === null || typeof address === "string") throw new Error("no port");
process.send?.(address.port);
process.on("disconnect", () => process.exit(0));
