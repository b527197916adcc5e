// A server in a pod: says who it is.
import { createServer } from "node:net";

createServer((socket) => socket.end("the pod\n")).listen(
  { port: Number(process.argv[2]), host: "::" },
  () => process.stdout.write("listening\n"),
);
