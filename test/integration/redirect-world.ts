// The world outside a redirected pod: answers whoever gets through, over TCP, UDP and as a resolver, and counts what is uploaded.
import { createSocket } from "node:dgram";
import { createServer } from "node:net";

/** Any server: says who it is at once, as server-first protocols do. */
for (const port of [80, 443, 6443, 15_001])
  createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.end("the world\n");
  }).listen({ port, host: "::" });

/** Says how many bytes came, once they ended. */
createServer({ allowHalfOpen: true }, (socket) => {
  let bytes = 0;
  socket.on("data", (chunk) => (bytes += chunk.length));
  socket.on("end", () => {
    process.stdout.write(`uploaded ${bytes}\n`);
    socket.end(`${bytes}`);
  });
  socket.on("error", () => {
    process.stdout.write(`broken ${bytes}\n`);
    socket.destroy();
  });
}).listen({ port: 5555, host: "::" });

for (const [port, answer] of [
  [53, "a foreign resolver"],
  [9, "an echo"],
] as const) {
  const socket = createSocket("udp6");
  socket.on("message", (_message, from) => socket.send(answer, from.port, from.address));
  socket.bind(port, "::");
}
process.stdout.write("ready\n");
