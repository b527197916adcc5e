// The two ways into one proxy, with the same behind them: a listener that is dialled, and the one that the rules redirect to.
import type { Socket } from "node:net";

import { redirectPort } from "../../contract/redirect.ts";
import { listen } from "../../proxy/net/listen.ts";
import { acceptRedirected } from "../../proxy/redirect/accept.ts";
import { openOriginalDestination } from "../../proxy/redirect/original-destination.ts";
import { namesByAddress } from "../../proxy/redirect/places.ts";

const [direct = "", virtual = "", port = ""] = process.argv.slice(2);

/** Says one byte at once, then answers every piece with one byte, as a relay that hears nothing else would. */
function serve(socket: Socket): void {
  const answer = Buffer.from("!");
  socket.write(answer);
  socket.on("data", () => socket.write(answer));
  socket.on("end", () => socket.end());
}

await listen({ host: direct, port: Number(port), onConnection: serve });
const options = {
  destinationOf: openOriginalDestination(),
  nameOf: namesByAddress(new Map([["bench.example", virtual]])),
  meet: () => serve,
  onRefused: () => process.exit(1),
  onFailure: () => process.exit(1),
};
await listen({
  host: "127.0.0.1",
  port: redirectPort,
  onConnection: (socket) => acceptRedirected(socket, options),
});
process.stdout.write("ready\n");
