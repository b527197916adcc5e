// HTTP/1.1 inside the agent's own TLS: what plain TCP does not show, because TLS delivers by records.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { connect as connectPlain, type AddressInfo } from "node:net";
import { duplexPair } from "node:stream";
import { test } from "node:test";
import { connect } from "node:tls";

import { createPodAuthority } from "../../proxy/tls/authority.ts";
import { createTlsTerminator } from "../../proxy/tls/terminate.ts";
import { eventually, startRoom } from "./http-proxy-fixture.ts";

/** Of the kernel, on loopback, both ways. */
const moreThanBuffers = 32 * 1024 * 1024;

test("a request that follows while the answer before it is still on its way is read whole, whatever records it comes in", async (t) => {
  const origin = createServer((request, response) => {
    let bytes = 0;
    request.on("data", (chunk: Buffer) => (bytes += chunk.length));
    request.on("end", () => {
      if (request.method === "GET") response.end(Buffer.alloc(moreThanBuffers, "x"));
      else response.end(`${bytes} bytes arrived`);
    });
  });
  await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
  t.after(() => origin.close());
  const authority = await createPodAuthority({ names: ["api.example"], storage: "memory" });
  const terminator = createTlsTerminator({ authority });
  const room = await startRoom(
    t,
    [{ upstream: { port: (origin.address() as AddressInfo).port } }],
    { secure: (socket, accept) => terminator.accept(socket, accept) },
  );
  const wire = await oneSegmentAtATime(room.port);
  const client = connect({
    socket: wire.socket,
    servername: "api.example",
    ca: authority.certificate,
  });
  t.after(() => client.destroy());
  let text = "";
  let closed = false;
  client.on("close", () => (closed = true)).on("error", () => undefined);
  client.write("GET /big HTTP/1.1\r\nhost: api.example\r\n\r\n");
  // The answer begins, fills every buffer on the way, and stands: nobody reads.
  await new Promise((resolve) => client.once("readable", resolve));
  await standsStill(wire.bytesRead);
  // Three records that arrive in one read.
  wire.hold();
  client.write("POST /small HTTP/1.1\r\nhost: api.example\r\ntransfer-encoding: chunked\r\n\r\n");
  client.write("5\r\nhello\r\n");
  client.write("0\r\n\r\n");
  await wire.flush();
  client.on("data", (chunk: Buffer) => (text = (text + chunk.toString("latin1")).slice(-1_000)));
  await eventually("both answers", () => closed || text.includes("bytes arrived"));
  assert.match(text, /HTTP\/1\.1 200 [^]*\r\n\r\n5 bytes arrived$/);
});

/** Until a number has not changed for a few turns of the machine's own making. */
async function standsStill(value: () => number): Promise<void> {
  let before = -1;
  for (let same = 0; same < 10;) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    same = value() === before ? same + 1 : 0;
    before = value();
  }
}

/** A socket whose outgoing records can be held back and sent together. */
async function oneSegmentAtATime(port: number) {
  const raw = connectPlain(port, "127.0.0.1");
  await new Promise((resolve) => raw.once("connect", resolve));
  const [near, far] = duplexPair();
  let held: Buffer[] | undefined;
  far.on("data", (chunk: Buffer) => (held === undefined ? raw.write(chunk) : held.push(chunk)));
  raw.pipe(far);
  raw.on("error", () => undefined).on("close", () => far.destroy());
  far.on("close", () => raw.destroy());
  return {
    socket: near,
    bytesRead: () => raw.bytesRead,
    hold: () => (held = []),
    async flush() {
      await standsStill(() => held?.length ?? 0);
      raw.write(Buffer.concat(held ?? []));
      held = undefined;
    },
  };
}
