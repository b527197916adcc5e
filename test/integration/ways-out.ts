// The ways out of a pod that a program in it can try.
import { createSocket } from "node:dgram";
import { Resolver } from "node:dns/promises";
import { connect } from "node:net";

const patienceMs = 2_000;

/** What comes back, up to where it ends: text, or the code of the error. */
export function tcp(host: string, port: number, first = ""): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect({ host, port });
    if (first !== "") socket.write(first);
    socket.setTimeout(patienceMs, () => resolve("silence"));
    socket.on("data", (chunk) => (text += chunk.toString()));
    socket.on("error", (error) => resolve("code" in error ? String(error.code) : error.message));
    socket.on("close", () => resolve(text.trim() === "" ? "nothing" : text.trim()));
  });
}

export function udp(host: string, port: number, from = 0): Promise<string> {
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

export async function dns(server: string, name: string, type: "A" | "AAAA"): Promise<string> {
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
export function upload(host: string, port: number, bytes: number): Promise<string> {
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
