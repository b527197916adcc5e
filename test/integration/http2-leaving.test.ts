// An agent that ends its HTTP/2 connection while answers wait for it: each upstream hears of it at once, and each operation is recorded.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect } from "node:http2";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { allowAll, eventually } from "./http-proxy-fixture.ts";
import type { ConnectionSetup } from "./http-proxy-fixture.ts";
import { h2Name, h2Origin, startH2Room } from "./http2-fixture.ts";

const answer = Buffer.alloc(4 * 1024 * 1024);

interface Origin {
  readonly upstream: ConnectionSetup["upstream"];
  /** Answers that are neither taken whole nor given up. */
  open(): number;
}

const origins: Readonly<Record<string, (t: TestContext) => Promise<Origin>>> = {
  "HTTP/1.1": async (t) => {
    let open = 0;
    const server = createServer((_request, response) => {
      open += 1;
      response.on("close", () => (open -= 1));
      response.end(answer);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    const address = server.address();
    assert.ok(address !== null && typeof address === "object");
    return { upstream: { port: address.port }, open: () => open };
  },
  "HTTP/2": async (t) => {
    let open = 0;
    const { upstream } = await h2Origin(t, (server) =>
      server.on("stream", (stream) => {
        open += 1;
        stream.on("error", () => {});
        stream.on("close", () => (open -= 1));
        stream.respond({ ":status": 200 });
        stream.end(answer);
      }),
    );
    return { upstream, open: () => open };
  },
};

for (const [version, origin] of Object.entries(origins))
  for (const count of [1, 100])
    test(`${count} answer(s) of an upstream of ${version} are given up when an agent that took nothing of them ends its connection`, async (t) => {
      const { upstream, open } = await origin(t);
      const room = await startH2Room(t, [{ upstream, rules: [allowAll] }]);
      const socket = await room.socket();
      const session = connect(`https://${h2Name}`, {
        createConnection: () => socket,
        settings: { initialWindowSize: 0 },
      });
      session.on("error", () => {});
      let heads = 0;
      for (let at = 0; at < count; at += 1) {
        const stream = session.request({ ":path": `/${at}` });
        stream.on("error", () => {});
        stream.on("response", () => (heads += 1));
      }
      await eventually("every answer has begun", () => heads === count);
      assert.ok(open() > 0);
      // Nothing is unread on its side, so what it sends is a FIN, not a RST.
      socket.destroy();
      await eventually("the upstream has none of them left", () => open() === 0);
      const outcomes = (): (string | undefined)[] =>
        room.gates
          .flatMap(({ events }) => events)
          .flatMap(({ type, body }) => (type === "operation" ? [body.outcome?.error] : []));
      await eventually("each is recorded", () => outcomes().length === count);
      assert.ok(outcomes().includes("ClientGone"));
    });
