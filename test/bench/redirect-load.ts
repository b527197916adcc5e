// The agent's side: the ways take turns, so that what disturbs one disturbs the other. Prints one line of JSON.
import { once } from "node:events";
import { connect, type Socket } from "node:net";

const [port = "", connections = "", trips = "", megabytes = "", ...hosts] = process.argv.slice(2);
const piece = Buffer.alloc(64 * 1024, "x");

async function opened(host: string): Promise<Socket> {
  const socket = connect({ host, port: Number(port), noDelay: true });
  await once(socket, "data");
  return socket;
}

/** Milliseconds from the call to the first byte, for each way. */
async function connecting(): Promise<number[][]> {
  const taken: number[][] = hosts.map(() => []);
  for (let turn = 0; turn < Number(connections); turn += 1)
    for (const [at, host] of hosts.entries()) {
      const before = performance.now();
      const socket = await opened(host);
      taken[at]?.push(performance.now() - before);
      socket.destroy();
    }
  return taken;
}

async function tripping(): Promise<number[][]> {
  const sockets = await Promise.all(hosts.map(opened));
  const taken: number[][] = hosts.map(() => []);
  const question = Buffer.alloc(64, "?");
  for (let turn = 0; turn < Number(trips); turn += 1)
    for (const [at, socket] of sockets.entries()) {
      const before = performance.now();
      socket.write(question);
      await once(socket, "data");
      taken[at]?.push(performance.now() - before);
    }
  for (const socket of sockets) socket.destroy();
  return taken;
}

/** Megabytes a second, uploaded over one connection. */
async function uploading(host: string): Promise<number> {
  const socket = await opened(host);
  socket.resume();
  const before = performance.now();
  for (let left = Number(megabytes) * 16; left > 0; left -= 1)
    if (!socket.write(piece)) await once(socket, "drain");
  socket.end();
  await once(socket, "close");
  return Number(megabytes) / ((performance.now() - before) / 1000);
}

const connect_ = await connecting();
const trip = await tripping();
const upload: number[][] = hosts.map(() => []);
for (let round = 0; round < 5; round += 1)
  for (const [at, host] of hosts.entries()) upload[at]?.push(await uploading(host));
process.stdout.write(`${JSON.stringify({ connect: connect_, trip, upload })}\n`);
