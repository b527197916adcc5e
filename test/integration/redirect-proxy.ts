// A proxy's redirect listeners in a process of their own: names what was met, carries `upload.example:5555` to the world, tells of what was refused.
import { connect, type Socket } from "node:net";
import { pino } from "pino";

import type { AddressMap } from "../../contract/addresses.ts";
import { dnsPort, redirectPort } from "../../contract/redirect.ts";
import {
  dialledFamilies,
  openRedirectListeners,
  redirectHosts,
} from "../../proxy/redirect/listeners.ts";
import { openOriginalDestination } from "../../proxy/redirect/original-destination.ts";
import { watchRefusedPackets } from "../../proxy/redirect/refused-packets.ts";

const [world = ""] = process.argv.slice(2);
const addresses: AddressMap = {
  version: 1,
  interception: "redirect",
  connections: ["db.example", "upload.example"].map((name, index) => ({
    connection: `agents/${name}`,
    protocol: "http",
    scheme: "http",
    path: "",
    names: [name],
    hosts: [{ name, address: `198.18.64.${index + 1}` }],
    port: 5555,
    endpoint: { address: "127.0.0.1", port: 15_100 + index },
  })),
};
const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const onRefused = (error: { code: string; message: string; target?: unknown }): void =>
  say({ code: error.code, message: error.message, target: error.target });

function meet(name: string, port: number): ((socket: Socket) => void) | undefined {
  if (port !== 5555) return undefined;
  if (name === "db.example") return (socket) => socket.end(`met ${name}:${port}`);
  return (socket) => {
    const upstream = connect({ host: world, port, allowHalfOpen: true });
    socket.pipe(upstream).pipe(socket);
    upstream.on("error", () => socket.destroy());
    socket.on("error", () => upstream.destroy());
  };
}

await openRedirectListeners(
  {
    addresses,
    destinationOf: openOriginalDestination(),
    ports: { tcp: redirectPort, dns: dnsPort },
    search: ["agents.svc.cluster.local", "svc.cluster.local"],
    families: dialledFamilies(),
    hosts: redirectHosts(),
    onRefused,
    logger: pino({ level: "silent" }),
  },
  meet,
);
watchRefusedPackets({ onRefused, everyMs: 100 });
say({ ready: true });
