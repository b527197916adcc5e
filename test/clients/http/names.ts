// A DNS server (RFC 1035) that knows a few names, for a proxy that resolves its upstreams as it does in a pod: by DNS, never by /etc/hosts.
import { createSocket } from "node:dgram";

const headerBytes = 12;
const typeA = 1;

/** @param names host name to IPv4 address */
export async function startNames(
  address: string,
  names: ReadonlyMap<string, string>,
): Promise<{ close(): Promise<void> }> {
  const socket = createSocket("udp4");
  socket.on("message", (query, from) => {
    socket.send(answerTo(query, names), from.port, from.address);
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(53, address, () => resolve());
  });
  return { close: () => new Promise((resolve) => socket.close(() => resolve())) };
}

function answerTo(query: Buffer, names: ReadonlyMap<string, string>): Buffer {
  const labels: string[] = [];
  let at = headerBytes;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString("latin1", at + 1, at + 1 + length));
    at += 1 + length;
  }
  const question = query.subarray(headerBytes, at + 5);
  const address = names.get(labels.join(".").toLowerCase());
  const hasAnswer = address !== undefined && query.readUInt16BE(at + 1) === typeA;
  const header = Buffer.alloc(headerBytes);
  query.copy(header, 0, 0, 2);
  header.writeUInt16BE(address === undefined ? 0x8183 : 0x8180, 2); // an answer, recursion available; no such name
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(hasAnswer ? 1 : 0, 6);
  if (!hasAnswer) return Buffer.concat([header, question]);
  // The name as a pointer to the question, type A, class IN, 60 seconds, 4 bytes.
  const record = Buffer.from([0xc0, headerBytes, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
  return Buffer.concat([header, question, record, Buffer.from(address.split(".").map(Number))]);
}
