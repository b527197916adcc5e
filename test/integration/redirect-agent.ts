// What a program in a pod tries: each argument is one thing to do, each line of output what came of it.
import { createSocket } from "node:dgram";
import { Resolver } from "node:dns/promises";
import { connect } from "node:net";

import { sendPing } from "../../proxy/redirect/ping.ts";

const patienceMs = 2_000;

function tcp(host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect({ host, port });
    socket.setTimeout(patienceMs, () => resolve("silence"));
    socket.on("data", (chunk) => (text += chunk.toString()));
    socket.on("error", (error) => resolve("code" in error ? String(error.code) : error.message));
    socket.on("close", () => resolve(text.trim() === "" ? "nothing" : text.trim()));
  });
}

function udp(host: string, port: number, from = 0): Promise<string> {
  return new Promise((resolve) => {
    const socket = createSocket({ type: host.includes(":") ? "udp6" : "udp4", reuseAddr: true });
    setTimeout(() => resolve("silence"), patienceMs).unref();
    socket.on("message", (message) => resolve(message.toString()));
    socket.on("error", (error) => resolve("code" in error ? String(error.code) : error.message));
    socket.bind(from, () =>
      socket.send("a question", port, host, (error) => {
        if (error !== null) resolve("code" in error ? String(error.code) : error.message);
      }),
    );
  });
}

async function dns(server: string, name: string, type: "A" | "AAAA"): Promise<string> {
  const resolver = new Resolver({ timeout: patienceMs, tries: 1 });
  resolver.setServers([server.includes(":") ? `[${server}]:53` : server]);
  try {
    const found = type === "A" ? await resolver.resolve4(name) : await resolver.resolve6(name);
    return found.join();
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : String(error);
  }
}

/** Writes all, closes and leaves: what is on its way belongs to nobody any more. */
function upload(host: string, port: number, bytes: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    socket.on("error", reject);
    socket.on("connect", () => {
      const chunk = Buffer.alloc(Math.min(bytes, 1024 * 1024), "u");
      for (let sent = 0; sent < bytes; sent += chunk.length)
        socket.write(chunk.subarray(0, bytes - sent));
      socket.end(() => {
        socket.destroy();
        resolve("sent");
      });
    });
  });
}

for (const argument of process.argv.slice(2)) {
  const [what = "", host = "", more = "", last = ""] = argument.split("|");
  const outcome =
    what === "tcp"
      ? await tcp(host, Number(more))
      : what === "udp"
        ? await udp(host, Number(more), Number(last))
        : what === "icmp"
          ? sendPing(host)
          : what === "dns"
            ? await dns(host, more, last === "AAAA" ? "AAAA" : "A")
            : await upload(host, Number(more), Number(last));
  process.stdout.write(`${outcome}\n`);
}
process.exit(0);
