// What the HTTP benchmark measures, in a process of its own as in a pod: the real room with a real gate and a real spool, or undici alone.
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Pool } from "undici";

import type { Bundle } from "../../policy/bundle.ts";
import { prepare } from "../../policy/decide.ts";
import { openSpool } from "../../proxy/audit/spool.ts";
import { createGate } from "../../proxy/gate.ts";
import { createHttpRoom } from "../../proxy/http/room.ts";
import { createDial } from "../../proxy/net/dial.ts";
import { listen } from "../../proxy/net/listen.ts";
import { createResolver } from "../../proxy/net/resolve.ts";
import type { LiveGrant } from "../../proxy/pipeline.ts";

export type TargetKind = "chaperone" | "undici";

const kind = process.argv[2];
const originPort = Number(process.argv[3]);
process.send?.(kind === "undici" ? await startUndici() : await startChaperone());
process.on("disconnect", () => process.exit(0));

/** Policy with two rules, a credential to inject, every operation in a spool on disk that is acknowledged as an operator would. */
async function startChaperone(): Promise<number> {
  const connection = { namespace: "bench", name: "orders", protocol: "http" as const };
  const rules = [
    {
      policy: "bench/agent",
      name: "orders",
      action: "Allow",
      mode: "Enforce",
      http: { methods: ["GET", "POST"], paths: ["/v1/**"] },
    },
    {
      policy: "bench/agent",
      name: "no-admin",
      action: "Deny",
      mode: "Enforce",
      http: { paths: ["/v1/admin/**"] },
    },
  ] as const;
  const bundle: Bundle = {
    version: 1,
    requires: [],
    generation: "1",
    connection,
    subject: { namespace: "bench", serviceAccount: "agent" },
    policies: ["bench/agent"],
    observeOnly: false,
    rules,
    columnMasks: [],
    detectMasks: [],
    maskKey: "a2V5",
    limits: {},
    recording: { detail: "Statements", strict: false, retentionDays: 90 },
    grantTtlSeconds: 300,
  };
  const live: LiveGrant = {
    id: "grant",
    endpoint: { host: "127.0.0.1", port: originPort, tls: { mode: "Disable" }, basePath: "" },
    lease: { kind: "headers", headers: [{ name: "authorization", value: "Bearer real" }] },
    bundle,
    prepared: prepare(bundle),
  };
  const directory = mkdtempSync(join(tmpdir(), "bench-spool-"));
  process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
  const spool = openSpool({ directory, stream: "local/bench" });
  setInterval(() => spool.acknowledge(spool.status().durableSeq), 40).unref();
  const gate = createGate({
    connection,
    subject: { namespace: "bench", serviceAccount: "agent", pod: "agent-0", podUid: "bench" },
    now: Date.now,
    recorder: spool,
    grants: {
      current: () => live,
      acquire: async () => live,
      openRequest: () => Promise.reject(new Error("nothing is held here")),
      awaitDecision: () => Promise.reject(new Error("nothing is held here")),
      spend: () => Promise.reject(new Error("nothing is held here")),
      keepInUse: () => () => {},
    },
  });
  const resolver = createResolver({ resolvConf: "/etc/resolv.conf" });
  const room = createHttpRoom({
    dial: createDial({ resolver, deny: () => false, allowLoopback: true }),
  });
  const route = { scheme: "http", select: () => gate } as const;
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    onConnection: (socket) => room.accept(socket, route),
  });
  return listener.port;
}

/** The same two engines with nothing between them: what any proxy made of them could reach at best. */
async function startUndici(): Promise<number> {
  const pool = new Pool(`http://127.0.0.1:${originPort}`, { connections: 128 });
  const server = createServer((request, response) => {
    const headers: string[] = [];
    for (let at = 0; at + 1 < request.rawHeaders.length; at += 2) {
      const name = request.rawHeaders[at]?.toLowerCase() ?? "";
      if (name !== "host" && name !== "connection")
        headers.push(name, request.rawHeaders[at + 1] ?? "");
    }
    pool.dispatch(
      { path: request.url ?? "/", method: request.method ?? "GET", headers, body: request },
      {
        onRequestStart() {},
        onResponseStart(_controller, status, fields) {
          const flat: string[] = [];
          for (const name in fields) flat.push(name, String(fields[name]));
          response.writeHead(status, flat);
        },
        onResponseData(_controller, chunk) {
          response.write(chunk);
        },
        onResponseEnd() {
          response.end();
        },
        onResponseError(_controller, error) {
          response.destroy(error);
        },
      },
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
