// The agent of the tests: takes orders over HTTP and carries them out with `pg` and fetch, keeping connections open between orders.
import { createSocket } from "node:dgram";
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage } from "node:http";
import { setTimeout as wait } from "node:timers/promises";
import pg from "pg";
import { OperatorRefused } from "../../../proxy/grant/answers.ts";
import { OperatorClient } from "../../../proxy/grant/client.ts";
import { ProofKey } from "../../../proxy/grant/keys.ts";
import { sendPing } from "../../../proxy/redirect/ping.ts";
import { dns, tcp, udp } from "../../integration/ways-out.ts";

interface Order {
  readonly connection?: string;
  readonly url?: string;
  readonly text?: string;
  readonly values?: readonly unknown[];
  readonly waitMs?: number;
  readonly init?: RequestInit;
  readonly token?: string;
  readonly ca?: string;
  readonly way?: string;
  readonly host?: string;
  readonly port?: number;
  readonly bytes?: number;
}

interface Held {
  readonly client: pg.Client;
  endedAt?: number;
  error?: string;
}

const clients = new Map<string, Held>();

/** The longest a test waits for a connection to end. */
const maxWaitMs = 60_000;

async function held({ connection = "default", url }: Order): Promise<Held> {
  const known = clients.get(connection);
  if (known !== undefined && known.endedAt === undefined) return known;
  const client = new pg.Client({ connectionString: url ?? process.env["DATABASE_URL"] });
  const fresh: Held = { client };
  const ended = (error?: Error): void => {
    fresh.endedAt ??= Date.now();
    if (error !== undefined) fresh.error ??= error.message;
  };
  client.on("error", ended);
  client.on("end", () => ended());
  await client.connect();
  clients.set(connection, fresh);
  return fresh;
}

const orders: Readonly<Record<string, (order: Order) => Promise<unknown>>> = {
  "/sql": async (order) => {
    const { client } = await held(order);
    const { rows, rowCount } = await client.query(order.text ?? "", [...(order.values ?? [])]);
    return { rows, rowCount };
  },
  "/ended": async ({ connection = "default", waitMs = 0 }) => {
    const deadline = Date.now() + Math.min(waitMs, maxWaitMs);
    for (;;) {
      const found = clients.get(connection);
      if (found === undefined) return { unknown: true };
      if (found.endedAt !== undefined || Date.now() > deadline)
        return { endedAt: found.endedAt, error: found.error };
      await wait(10);
    }
  },
  "/fetch": async ({ url = "", init = {} }) => {
    const response = await fetch(url, { ...init, signal: AbortSignal.timeout(maxWaitMs) });
    return {
      status: response.status,
      headers: Object.fromEntries(response.headers),
      body: await response.text(),
    };
  },
  "/env": async () => process.env,
  "/file": async ({ url = "" }) => await readFile(url, "utf8"),
  /** As an agent that wants to get past its proxy would: what came back, or the code of the error. */
  "/get-out": async ({ way = "", host = "", port = 0, text = "" }) => {
    if (way === "tcp") return await tcp(host, port, text);
    if (way === "udp") return await udp(host, port);
    if (way === "icmp") return sendPing(host);
    return await dns(host, text, "A");
  },
  /** A body of so many bytes, and what the server says that it got. */
  "/upload": async ({ url = "", bytes = 0 }) => {
    const response = await fetch(url, {
      method: "POST",
      body: Buffer.alloc(bytes, "u"),
      signal: AbortSignal.timeout(maxWaitMs),
    });
    return { status: response.status, body: await response.text() };
  },
  /** How many bytes a server gave that closes the connection with the last of them. */
  "/download": async ({ url = "" }) => {
    const headers = { connection: "close" };
    const response = await fetch(url, { headers, signal: AbortSignal.timeout(maxWaitMs) });
    return (await response.arrayBuffer()).byteLength;
  },
  /** As an agent that got hold of a token would: an exchange under a key of its own. */
  "/exchange": async ({ url = "", ca = "", token = "" }) => {
    const key = await ProofKey.create(Date.now);
    const client = new OperatorClient({ address: { url, ca }, key, readToken: async () => token });
    try {
      await client.exchange(undefined, AbortSignal.timeout(maxWaitMs));
      return { granted: true };
    } catch (error) {
      if (!(error instanceof OperatorRefused)) throw error;
      return { granted: false, reason: error.reason, message: error.message };
    } finally {
      await client.close();
    }
  },
};

async function bodyOf(request: IncomingMessage): Promise<Order> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString("utf8");
  return text === "" ? {} : (JSON.parse(text) as Order);
}

async function answer(request: IncomingMessage): Promise<unknown> {
  const order = orders[request.url ?? ""];
  if (order === undefined) return { failed: { message: `no order ${request.url}` } };
  try {
    return { done: await order(await bodyOf(request)) };
  } catch (error) {
    const { message, code, detail, hint, cause } = Object(error);
    return {
      failed: {
        message,
        code,
        detail,
        hint,
        cause: cause === undefined ? undefined : String(cause),
      },
    };
  }
}

/** For agents of other pods: says how many bytes came. */
async function count(request: IncomingMessage): Promise<number> {
  let bytes = 0;
  for await (const chunk of request) bytes += (chunk as Buffer).length;
  return bytes;
}

createServer((request, response) => {
  if (request.url?.endsWith("/count") === true) {
    void count(request).then(
      (bytes) => response.end(`${bytes}`),
      () => response.destroy(), // whoever sent it left
    );
    return;
  }
  const [, asked] = /^\/give\/(\d{1,9})$/.exec(request.url ?? "") ?? [];
  if (asked !== undefined) {
    response.shouldKeepAlive = false;
    response.end(Buffer.alloc(Number(asked), "d"));
    return;
  }
  void answer(request).then((result) => {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ at: Date.now(), ...Object(result) }));
  });
}).listen(8000, "0.0.0.0");
const echo = createSocket("udp4");
echo.on("message", (_message, from) => echo.send("an echo", from.port, from.address));
echo.bind(8001);
for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => process.exit(0));
