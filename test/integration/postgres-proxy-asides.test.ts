// What comes beside a session's own statements: a CancelRequest while the proxy asks something of its own, and what the server says before it is ready.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, connect } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { after, afterEach, before, test } from "node:test";
import { ownMark } from "../../proxy/postgres/exchange.ts";
import {
  cancelRequest,
  message,
  query,
  readyForQuery,
  startupMessage,
} from "../../proxy/postgres/messages.ts";
import { welcome } from "./postgres-fake-upstream.ts";
import { allow, hold, startHarness, type Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, field, RawClient, statusOf, tagsOf } from "./postgres-proxy-raw.ts";

/** Answers of a server that knows nothing, the proxy's own questions only when the test says so. */
const done = Buffer.concat([message(0x43, Buffer.from("SELECT 0\0")), readyForQuery("I")]);
const notice = (text: string): Buffer =>
  message(0x4e, Buffer.from(`SNOTICE\0VNOTICE\0C00000\0M${text}\0\0`));

let server: Server;
let proxy: Harness;
let greeting = welcome;
let asked: (() => void) | undefined;
let holdsQuestions = false;
const waiting: Socket[] = [];
const statements: string[] = [];

before(async () => {
  server = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.once("data", () => {
      socket.write(greeting);
      socket.on("data", (chunk: Buffer) => {
        if (!chunk.includes(ownMark)) statements.push(chunk.toString("latin1"));
        if (!chunk.includes(ownMark) || !holdsQuestions) socket.write(done);
        else {
          waiting.push(socket);
          asked?.();
        }
      });
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  proxy = await startHarness(
    {
      host: "127.0.0.1",
      port,
      superuser: "postgres",
      password: "not-asked-for",
      superuserUrl: "",
      data: "",
      major: 18,
      log: () => "",
      stop: async () => undefined,
    },
    { holdNoticeMs: 50 },
  );
});

afterEach(() => {
  greeting = welcome;
  holdsQuestions = false;
  statements.length = 0;
});

after(async () => {
  await proxy?.close();
  server?.close();
});

async function begin(): Promise<{ raw: RawClient; key: Buffer; heard: readonly string[] }> {
  const socket = connect({ port: proxy.port, host: "127.0.0.1" });
  await once(socket, "connect");
  const raw = new RawClient(socket);
  raw.send(startupMessage({ user: "agent", database: "postgres" }));
  const answers = await raw.ready();
  const key = answers.find(({ type }) => type === "K")?.body ?? assert.fail("no cancel key");
  const heard = answers.filter(({ type }) => type === "N").map((one) => field(one, "M") ?? "");
  return { raw, key, heard };
}

test("a cancel while the proxy asks something of its own ends the statement as cancelled, and the next one is its own", async () => {
  proxy.setRules([allow({ statements: ["select"] })]);
  holdsQuestions = true;
  const { raw, key } = await begin();
  const question = new Promise<void>((resolve) => {
    asked = resolve;
  });
  raw.send(query("SELECT 1"));
  await question;
  const canceller = connect({ port: proxy.port, host: "127.0.0.1" });
  canceller.end(cancelRequest(key));
  await once(canceller, "close");
  holdsQuestions = false;
  for (const socket of waiting.splice(0)) socket.write(done);
  const answers = await raw.ready();
  assert.deepEqual(errorsOf(answers), ["57014"]);
  assert.equal(statusOf(answers), "I");
  assert.deepEqual(statements, [], "what was cancelled was not sent");
  raw.send(query("DROP TABLE orders"));
  const [refused] = await raw.ready();
  assert.ok(refused !== undefined);
  assert.equal(field(refused, "C"), "42501");
  raw.send(query("SELECT 2"));
  assert.deepEqual(tagsOf(await raw.ready()), ["SELECT 0"]);
  await raw.end();
  const [cancelled] = proxy.operations();
  assert.deepEqual(cancelled?.body.outcome?.status, "denied");
});

test("what the server says before it is ready reaches the client, as many lines as fit", async () => {
  proxy.setRules([allow({ statements: ["select"] })]);
  greeting = Buffer.concat([
    welcome.subarray(0, 9),
    notice("behind the login"),
    notice("and more"),
    welcome.subarray(9),
  ]);
  const { raw, heard } = await begin();
  assert.deepEqual(heard, ["behind the login", "and more"]);
  await raw.end();
  greeting = Buffer.concat([
    welcome.subarray(0, 9),
    ...Array.from({ length: 100 }, (_, at) => notice(`line ${at}`)),
    welcome.subarray(9),
  ]);
  const flooded = await begin();
  assert.equal(flooded.heard.length, 32);
  await flooded.raw.end();
});

const waits =
  /^connection agents\/orders-db: waiting for the approval of access request request-\d+; cancel to give up$/;

test("a client that waits for a person is told so, again and again, and no more once the statement runs", async () => {
  proxy.setRules([hold({ statements: ["select"] }, 60)]);
  const { raw } = await begin();
  raw.send(query("SELECT held FROM orders"));
  const told = await raw.until((answers) => answers.length >= 3);
  for (const one of told) {
    assert.equal(one.type, "N");
    assert.match(field(one, "M") ?? "", waits);
  }
  proxy.answerRequest("Approved");
  const answers = await raw.ready();
  assert.equal(answers.at(-1)?.type, "Z");
  proxy.setRules([allow({ statements: ["select"] })]);
  await new Promise((resolve) => setTimeout(resolve, 150));
  raw.send(query("SELECT free FROM orders"));
  assert.deepEqual(
    (await raw.ready()).map(({ type }) => type),
    ["C", "Z"],
  );
  await raw.end();
});

test("a client that left behind a held statement is noticed, although its bytes are no longer read", async () => {
  proxy.setRules([hold({ statements: ["select"] }, 60)]);
  const { raw } = await begin();
  const seen = proxy.operations().length;
  raw.send(query("SELECT gone FROM orders"));
  await raw.until((answers) => answers.length > 0);
  // More than is read ahead: from here on the socket is not read.
  for (let at = 0; at < 64; at++) raw.send(query(`SELECT '${"x".repeat(60_000)}'`));
  await new Promise((resolve) => setTimeout(resolve, 100));
  raw.socket.destroy();
  for (let at = 0; proxy.operations().length === seen; at++) {
    assert.ok(at < 300, "the hold goes on for nobody");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.equal(proxy.operations()[seen]?.body.outcome?.status, "pending");
});
