// Tries one way out, as the agent could.
import { createSocket } from "node:dgram";
import { connect } from "node:net";

import {
  firstVirtualAddress,
  proofLine,
  proofName,
  redirectPort,
} from "../../contract/redirect.ts";
import { bytesOfIPv4 } from "../dns/answer.ts";
import type { Attempt } from "./attempts.ts";
import { sendPing } from "./ping.ts";

/** `proven`: it ended at the proxy, or the kernel refused it. `closed`: there is no way there at all. */
export type Outcome = "proven" | "closed" | { readonly open: string };

/** Everything that is ours is in this very pod; a foreign machine that needs longer would have been reached. */
const patienceMs = 3_000;

/** The pod has no way there at all: an address family without a route is closed. */
const noWay: ReadonlySet<string> = new Set(["ENETUNREACH", "EADDRNOTAVAIL", "EAFNOSUPPORT"]);
/** How the kernel says that a packet was refused where it was sent. */
const refusedHere: ReadonlySet<string> = new Set(["EPERM", "EACCES", "ECONNREFUSED"]);

export function tryOut(attempt: Attempt): Promise<Outcome> {
  switch (attempt.kind) {
    case "tcp-proof":
      return tryProof(attempt.address);
    case "tcp":
      return trySilence(attempt.address, attempt.port);
    case "udp":
      return tryDatagram(attempt.address, attempt.port);
    case "icmp":
      return Promise.resolve(tryPing(attempt.address));
    case "dns":
      return tryDns(attempt.address, attempt.over);
    default:
      return attempt satisfies never;
  }
}

async function tryProof(address: string): Promise<Outcome> {
  const { text, error } = await spoken(address, redirectPort, undefined);
  if (text.toString() === proofLine(address, redirectPort)) return "proven";
  if (noWay.has(error ?? "")) return "closed";
  return { open: `it did not end at the proxy (${error ?? `${text.length} bytes came back`})` };
}

/** What any server answers something to, be it that this is not TLS. */
const request = Buffer.from("GET / HTTP/1.0\r\n\r\n");

async function trySilence(address: string, port: number): Promise<Outcome> {
  const { text, error } = await spoken(address, port, request);
  if (text.length > 0) return { open: `${text.length} bytes came back` };
  if (error === "ETIMEDOUT") return { open: "it was neither redirected nor refused" };
  return noWay.has(error ?? "") ? "closed" : "proven";
}

interface Spoken {
  readonly text: Buffer;
  /** Code of the error that ended it. */
  readonly error: string | undefined;
}

/** All that comes back, up to where it ends. */
function spoken(address: string, port: number, first: Buffer | undefined): Promise<Spoken> {
  const { promise, resolve } = Promise.withResolvers<Spoken>();
  const chunks: Buffer[] = [];
  let error: string | undefined;
  const socket = connect({ host: address, port });
  const timer = setTimeout(() => {
    error = "ETIMEDOUT";
    socket.destroy();
  }, patienceMs);
  socket.on("connect", () => first !== undefined && socket.write(first));
  socket.on("data", (chunk) => {
    chunks.push(chunk);
    // A server that talks has been reached.
    if (first !== undefined) socket.destroy();
  });
  socket.on("error", (cause) => (error = codeOf(cause)));
  socket.on("close", () => {
    clearTimeout(timer);
    resolve({ text: Buffer.concat(chunks), error });
  });
  return promise;
}

function tryDatagram(address: string, port: number): Promise<Outcome> {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  const settle = (error: Error | null): void => {
    socket.close();
    const code = error === null ? undefined : codeOf(error);
    if (code === undefined) resolve({ open: "the kernel sent it" });
    else if (noWay.has(code)) resolve("closed");
    else
      resolve(
        refusedHere.has(code) ? "proven" : { open: `it failed with ${code}, which is no refusal` },
      );
  };
  socket.once("error", ignore);
  socket.send(Buffer.from("chaperone"), port, address, settle);
  return promise;
}

function tryPing(address: string): Outcome {
  return sendPing(address) === "sent" ? { open: "the kernel sent it" } : "proven";
}

async function tryDns(address: string, over: "udp" | "tcp"): Promise<Outcome> {
  const query = proofQuery();
  const { text, error } =
    over === "udp" ? await askedByDatagram(address, query) : await askedByStream(address, query);
  if (noWay.has(error ?? "")) return "closed";
  if (text.length === 0) return { open: `nobody answered (${error ?? "no error"})` };
  return text.subarray(-4).equals(bytesOfIPv4(firstVirtualAddress))
    ? "proven"
    : { open: "another resolver answered" };
}

function askedByDatagram(address: string, query: Buffer): Promise<Spoken> {
  const { promise, resolve } = Promise.withResolvers<Spoken>();
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  const settle = (text: Buffer, error: string | undefined): void => {
    clearTimeout(timer);
    socket.removeAllListeners().on("error", ignore).close();
    resolve({ text, error });
  };
  const timer = setTimeout(() => settle(Buffer.alloc(0), "ETIMEDOUT"), patienceMs);
  socket.once("error", (error) => settle(Buffer.alloc(0), codeOf(error)));
  socket.once("message", (text) => settle(text, undefined));
  socket.send(query, 53, address, (error) => {
    if (error !== null) settle(Buffer.alloc(0), codeOf(error));
  });
  return promise;
}

async function askedByStream(address: string, query: Buffer): Promise<Spoken> {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(query.length);
  const { text, error } = await spoken(address, 53, Buffer.concat([length, query]));
  return { text: text.subarray(2), error };
}

/** For the A record of the name that the proxy alone knows (RFC 1035 section 4.1). */
function proofQuery(): Buffer {
  const labels = proofName
    .split(".")
    .flatMap((label) => [Buffer.from([label.length]), Buffer.from(label)]);
  const header = Buffer.from([0x63, 0x68, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  return Buffer.concat([header, ...labels, Buffer.from([0, 0, 1, 0, 1])]);
}

function codeOf(error: Error): string {
  return "code" in error ? String(error.code) : error.message;
}

function ignore(): void {}
