// The server breaks off, or is none, at every state of a session: the client is told in its protocol, an event says why, and the next session is served.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { after, before, test } from "node:test";
import { serialize } from "pg-protocol";
import { message, startupMessage } from "../../proxy/postgres/messages.ts";
import { startFakeUpstream, welcome } from "./postgres-fake-upstream.ts";
import type { FakeUpstream, Script } from "./postgres-fake-upstream.ts";
import { startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { field, RawClient } from "./postgres-proxy-raw.ts";

let script: Script = {};
let upstream: FakeUpstream;
let proxy: Harness;

before(async () => {
  upstream = await startFakeUpstream(() => script);
  proxy = await startHarness({
    ...upstream,
    superuser: "postgres",
    password: "not-asked-for",
    superuserUrl: "",
    data: "",
    major: 18,
    log: () => "",
    stop: async () => undefined,
  });
});

after(async () => {
  await proxy?.close();
  await upstream?.close();
});

/** A message of this type that announces so many bytes and brings `body`. */
function announced(type: string, length: number, body: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(5);
  head.write(type, "latin1");
  head.writeInt32BE(length, 1);
  return Buffer.concat([head, body]);
}

const of = (type: string, body: string | Buffer = ""): Buffer =>
  message(type.charCodeAt(0), Buffer.from(body));
const rowDescription = of(
  "T",
  Buffer.concat([Buffer.from("\0\x01n\0", "latin1"), Buffer.alloc(18)]),
);
const row = of("D", "\0\x01\0\0\0\x01x");
const complete = of("C", "SELECT 1\0");
const authentication = (code: number, data = ""): Buffer =>
  of("R", Buffer.concat([Buffer.from([0, 0, 0, code]), Buffer.from(data, "latin1")]));

/** What the server says and then does, in place of its welcome. */
const whileStarting: Readonly<Record<string, (socket: Socket) => void>> = {
  "closes at once": (socket) => socket.end(),
  "resets the connection": (socket) => socket.resetAndDestroy(),
  "speaks HTTP": (socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"),
  "sends half a header": (socket) => socket.end("R\0\0"),
  "announces a message of 1 GB": (socket) => socket.write(announced("R", 1_000_000_000)),
  "announces a negative length": (socket) => socket.write(announced("R", -1)),
  "asks for a clear password": (socket) => socket.write(authentication(3)),
  "asks for MD5": (socket) => socket.write(authentication(5, "salt")),
  "asks for a way that nobody knows": (socket) => socket.write(authentication(99)),
  "offers no mechanism": (socket) => socket.write(authentication(10, "\0")),
  "closes amid SCRAM": (socket) => socket.end(authentication(10, "SCRAM-SHA-256\0\0")),
  "answers SCRAM with garbage": (socket) =>
    socket.write(
      Buffer.concat([authentication(10, "SCRAM-SHA-256\0\0"), authentication(11, "r=,s=,i=0")]),
    ),
  "skips SCRAM": (socket) =>
    socket.write(
      Buffer.concat([authentication(10, "SCRAM-SHA-256\0\0"), authentication(12, "v=")]),
    ),
  "closes behind the authentication": (socket) => socket.end(authentication(0)),
  "sends a row in place of its settings": (socket) =>
    socket.write(Buffer.concat([authentication(0), row])),
  "has another dialect": (socket) =>
    socket.write(Buffer.concat([authentication(0), of("S", "client_encoding\0LATIN1\0"), welcome])),
  "refuses with an error without an end": (socket) => socket.end(of("E", "SFATAL\0C53300")),
};

for (const [what, onStartup] of Object.entries(whileStarting))
  test(`a server that ${what} while a session starts`, async () => {
    await dies({ onStartup }, undefined);
  });

/** What the server says to the first query. */
const underWay: Readonly<Record<string, (socket: Socket) => void>> = {
  "closes before an answer": (socket) => socket.end(),
  "resets the connection": (socket) => socket.resetAndDestroy(),
  "closes behind the shape": (socket) => socket.end(rowDescription),
  "closes between rows": (socket) => socket.end(Buffer.concat([rowDescription, row])),
  "closes amid COPY to the client": (socket) =>
    socket.end(Buffer.concat([of("H", "\0\0\0"), of("d", "1\n")])),
  "sends half a header": (socket) => socket.end("D\0\0"),
  "announces a row of negative length": (socket) => socket.write(announced("D", -7)),
  "announces an error of 1 GB": (socket) => socket.write(announced("E", 1_000_000_000)),
  "announces a shape of 1 GB": (socket) => socket.write(announced("T", 1_000_000_000)),
  "sends a message of no known type": (socket) => socket.write(of("!", "x")),
  "sends what a client sends": (socket) => socket.write(of("Q", "SELECT 1\0")),
  "answers what nobody asked": (socket) => socket.write(of("1")),
  "is ready without a status": (socket) => socket.write(of("Z")),
  "is ready in a status that is none": (socket) => socket.write(of("Z", "?")),
  "begins a COPY that nobody asked for": (socket) => socket.write(of("G", "\0\0\0")),
  "begins a COPY in both directions": (socket) => socket.write(of("W", "\0\0\0")),
  "sends an error without an end": (socket) => socket.write(of("E", "SERROR\0C42601")),
  "describes fewer columns than it says": (socket) => socket.write(of("t", "\x7f\xff")),
  "sends a setting without a value": (socket) => socket.write(of("S", "TimeZone")),
  "asks for the password again": (socket) => socket.write(authentication(3)),
  "speaks HTTP": (socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"),
};

for (const [what, answer] of Object.entries(underWay))
  test(`a server that ${what} when it is asked`, async () => {
    await dies({ onBytes: answer }, serialize.query("SELECT 1"));
  });

test("a server that closes while it takes COPY data", async () => {
  let begun = false;
  const onBytes = (socket: Socket): void => {
    if (begun) socket.end();
    else socket.write(of("G", "\0\0\0"));
    begun = true;
  };
  await dies({ onBytes }, serialize.query("COPY orders FROM STDIN"), async (raw) => {
    await raw.until((answers) => answers.some(({ type }) => type === "G"));
    raw.send(serialize.copyData(Buffer.from("1\n")));
  });
});

test("a server that closes between two queries", async () => {
  const onBytes = (socket: Socket): void => {
    socket.write(Buffer.concat([rowDescription, row, complete, of("Z", "I")]));
    setImmediate(() => socket.end());
  };
  await dies({ onBytes }, serialize.query("SELECT 1"));
});

test("a row without an end is cut with the connection, for amid a message nothing can be said", async () => {
  script = {
    onBytes: (socket) =>
      socket.end(Buffer.concat([rowDescription, announced("D", 10_000_000, Buffer.alloc(99))])),
  };
  const raw = await begin();
  await raw.ready();
  raw.send(serialize.query("SELECT 1"));
  await raw.until(() => raw.closed);
  assert.equal(raw.inMessage, true);
  await over(raw, "UpstreamUnreachable");
  await serves();
});

async function begin(): Promise<RawClient> {
  proxy.events.length = 0;
  const socket = connect({
    port: proxy.port,
    host: proxy.host,
    allowHalfOpen: true,
    noDelay: true,
  });
  await once(socket, "connect");
  const raw = new RawClient(socket);
  raw.send(startupMessage({ user: "agent", database: "postgres" }));
  return raw;
}

/** The session's end is recorded, with its cause, and so is what came of everything that ran in it. */
async function over(raw: RawClient, code: string | undefined): Promise<void> {
  raw.socket.destroy();
  const deadline = Date.now() + 10_000;
  const ended = () => proxy.events.find(({ type }) => type === "session-end");
  while (ended() === undefined && Date.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, 2));
  assert.equal(ended()?.body.error?.code, code);
  const open = proxy.operations().filter(({ body }) => body.outcome === undefined);
  assert.deepEqual(open, []);
}

/** @param first sent once the session is there; undefined: it never is */
async function dies(
  acts: Script,
  first: Buffer | undefined,
  then: (raw: RawClient) => Promise<void> = async () => undefined,
): Promise<void> {
  script = acts;
  const raw = await begin();
  if (first !== undefined) {
    await raw.ready();
    raw.send(first);
    await then(raw);
  }
  const answers = await raw.until(() => raw.closed);
  const last = answers.at(-1);
  assert.ok(last !== undefined && last.type === "E", `the last word was ${last?.type}`);
  assert.equal(field(last, "V"), "FATAL");
  const code = /^chaperone: (\w+)$/.exec(field(last, "H") ?? "")?.[1];
  assert.match(code ?? "none", /^Upstream\w+$/);
  assert.match(field(last, "M") ?? "", /agents\/orders-db/);
  await over(raw, code);
  await serves();
}

/** The next session, of a server that has come to its senses. */
async function serves(): Promise<void> {
  script = {
    onBytes: (socket) => socket.write(Buffer.concat([rowDescription, row, complete, of("Z", "I")])),
  };
  const raw = await begin();
  await raw.ready();
  raw.send(serialize.query("SELECT 1"));
  assert.equal((await raw.ready()).map(({ type }) => type).join(""), "TDCZ");
  await over(raw, undefined);
}
