// Two sockets and bytes both ways, in a process of its own: what any proxy in Node could reach at best.
import { once } from "node:events";
import { connect, createServer } from "node:net";

const upstreamPort = Number(process.argv[2]);
const server = createServer({ noDelay: true }, (client) => {
  const upstream = connect({ port: upstreamPort, host: "127.0.0.1", noDelay: true });
  client.pipe(upstream);
  upstream.pipe(client);
  client.on("error", () => upstream.destroy());
  upstream.on("error", () => client.destroy());
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
const address = server.address();
if (address === null || typeof address === "string") throw new Error("no port");
process.send?.(address.port);
process.on("disconnect", () => process.exit(0));
