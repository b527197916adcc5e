// A room with real gates on a real socket, for tests: the policy core decides, and what would go into the spool is kept in lists.
import assert from "node:assert/strict";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { Agent, request } from "node:http";
import type { IncomingMessage, OutgoingHttpHeaders } from "node:http";
import type { TestContext } from "node:test";
import type { TLSSocket } from "node:tls";

import type { Endpoint, Lease, RequestState } from "../../contract/control.ts";
import type { EventBody, EventType } from "../../contract/event.ts";
import type { Bundle, BundleRule, Limits, RecordingDetail } from "../../policy/bundle.ts";
import { prepare } from "../../policy/decide.ts";
import type { Protocol } from "../../policy/operation.ts";
import type { AskBudgets } from "../../proxy/budget/purses.ts";
import { createGate } from "../../proxy/gate.ts";
import type { ManagedGate } from "../../proxy/gate.ts";
import { createHttpRoom } from "../../proxy/http/room.ts";
import type { HttpRoom, HttpRoute } from "../../proxy/http/room.ts";
import { PodMarks } from "../../proxy/marks.ts";
import { createDial, type Open } from "../../proxy/net/dial.ts";
import { listen } from "../../proxy/net/listen.ts";
import { createResolver } from "../../proxy/net/resolve.ts";
import type { Content, LiveGrant } from "../../proxy/pipeline.ts";
import type { ProxyError } from "../../proxy/errors.ts";

export interface ConnectionSetup {
  readonly name?: string;
  readonly protocol?: Protocol;
  readonly upstream: {
    readonly port: number;
    readonly host?: string;
    readonly basePath?: string;
    readonly ca?: string;
  };
  readonly endpoint?: Partial<Endpoint>;
  readonly lease?: Lease;
  readonly rules?: readonly Partial<BundleRule>[];
  readonly limits?: Limits;
  readonly prices?: Bundle["prices"];
  readonly askBudgets?: AskBudgets;
  readonly now?: () => number;
  readonly detectMasks?: Bundle["detectMasks"];
  readonly requestMasks?: Bundle["detectMasks"];
  readonly detail?: RecordingDetail;
  /** Of the pod's session, where several connections share it. */
  readonly marks?: PodMarks;
}

export interface Recorded {
  readonly type: EventType;
  readonly body: EventBody;
  readonly contents: readonly Content[];
}

export interface TestGate extends ManagedGate {
  readonly events: Recorded[];
  /** What the keeper of grants would do next. */
  live: LiveGrant | undefined;
  refuseGrant: ProxyError | undefined;
  /** Tools as the operator has them. */
  readonly pins: Map<string, string>;
  /** How the operator answers the next held operations. */
  decide: (request: { digest: string; summary: string; detail?: string }) => RequestState["phase"];
  readonly requests: { digest: string; summary: string; detail?: string }[];
}

export const allowAll: Partial<BundleRule> = { name: "all", action: "Allow" };

export function testGate(setup: ConnectionSetup): TestGate {
  const connection = {
    namespace: "agents",
    name: setup.name ?? "target",
    protocol: setup.protocol ?? ("http" as const),
  };
  const endpoint: Endpoint = {
    host: setup.upstream.host ?? "127.0.0.1",
    port: setup.upstream.port,
    tls:
      setup.upstream.ca === undefined
        ? { mode: "Disable" }
        : { mode: "VerifyFull", ca: setup.upstream.ca },
    basePath: setup.upstream.basePath ?? "",
    ...setup.endpoint,
  };
  const bundle: Bundle = {
    version: 1,
    requires: [],
    generation: "1",
    connection,
    subject: { namespace: "agents", serviceAccount: "agent" },
    policies: ["agents/policy"],
    observeOnly: false,
    rules: (setup.rules ?? [allowAll]).map((rule) => ({
      policy: "agents/policy",
      name: "rule",
      action: "Allow",
      mode: "Enforce",
      ...rule,
    })),
    columnMasks: [],
    detectMasks: setup.detectMasks ?? [],
    ...(setup.requestMasks !== undefined && { requestMasks: setup.requestMasks }),
    maskKey: "a2V5",
    limits: setup.limits ?? {},
    ...(setup.prices !== undefined && { prices: setup.prices }),
    recording: { detail: setup.detail ?? "Statements", strict: false, retentionDays: 90 },
    grantTtlSeconds: 300,
  };
  const live: LiveGrant = {
    id: "grant",
    endpoint,
    lease: setup.lease ?? { kind: "none" },
    bundle,
    prepared: prepare(bundle),
  };
  const events: Recorded[] = [];
  const append = (type: EventType, body: EventBody, contents?: readonly Content[]) => ({
    seq: events.push({ type, body, contents: contents ?? [] }),
  });
  const state = (phase: RequestState["phase"], digest: string): RequestState => ({
    name: "req-1",
    phase,
    connection: `agents/${connection.name}`,
    digest,
  });
  const gate: ManagedGate = createGate({
    connection,
    subject: { namespace: "agents", serviceAccount: "agent", pod: "pod", podUid: "uid" },
    marks: setup.marks ?? new PodMarks(),
    now: setup.now ?? Date.now,
    ...(setup.askBudgets !== undefined && { askBudgets: setup.askBudgets }),
    recorder: {
      full: () => false,
      room: async () => {},
      append,
      appendDurably: async (...event) => append(...event),
    },
    grants: {
      current: () => test.live,
      acquire: async () => {
        if (test.refuseGrant !== undefined) throw test.refuseGrant;
        test.live ??= live;
        return test.live;
      },
      openRequest: async (request) => {
        test.requests.push(request);
        return state(test.decide(request), request.digest);
      },
      awaitDecision: (_name, signal) =>
        new Promise((_resolve, reject) =>
          signal.addEventListener("abort", () => reject(signal.reason)),
        ),
      spend: async () => ({ spent: true }),
      keepInUse: () => () => {},
      pinTools: async ({ seen, changed }) => {
        const first = seen.filter(({ name }) => !test.pins.has(name));
        for (const { name, digest } of [...first, ...changed]) test.pins.set(name, digest);
        return [...test.pins].map(([name, digest]) => ({ name, digest }));
      },
    },
  });
  const test: TestGate = Object.assign(Object.create(gate) as ManagedGate, {
    connection: gate.connection,
    admissions: gate.admissions,
    grant: gate.grant,
    current: gate.current,
    open: gate.open,
    end: gate.end,
    pinTools: gate.pinTools,
    pins: new Map<string, string>(),
    events,
    live: undefined as LiveGrant | undefined,
    refuseGrant: undefined as ProxyError | undefined,
    decide: (): RequestState["phase"] => "Pending",
    requests: [],
  });
  return test;
}

export interface TestRoom {
  readonly gates: readonly TestGate[];
  readonly gate: TestGate;
  readonly port: number;
  readonly room: HttpRoom;
  readonly agent: Agent;
  /** Refused before they became operations. */
  readonly refusals: ProxyError[];
  events(): {
    readonly type: EventType;
    readonly body: EventBody;
    readonly contents: readonly Content[];
  }[];
  operations(): Recorded[];
}

export interface RoomSetup {
  readonly bodyPatienceMs?: number;
  /** What the upstream's connections wait for. */
  readonly beforeDial?: Promise<void>;
  readonly route?: Partial<HttpRoute>;
  readonly secure?: (socket: Socket, accept: (socket: Socket | TLSSocket) => void) => void;
}

/** A room whose listener serves these connections, the one with the longest base path first. */
export async function startRoom(
  t: Pick<TestContext, "after">,
  setups: readonly ConnectionSetup[],
  options: RoomSetup = {},
): Promise<TestRoom> {
  const gates = setups.map(testGate);
  const refusals: ProxyError[] = [];
  const resolver = createResolver({ resolvConf: "/nonexistent", allowLocalhost: true });
  const unexpected: unknown[] = [];
  const dial = createDial({ resolver, deny: () => false, allowLoopback: true });
  const room = createHttpRoom({
    dial: async <S extends Socket>(...target: [string, number, AbortSignal, Open<S>?]) => {
      await options.beforeDial;
      const [host, port, signal, open] = target;
      return open === undefined ? dial(host, port, signal) : dial(host, port, signal, open);
    },
    ...(options.bodyPatienceMs !== undefined && { bodyPatienceMs: options.bodyPatienceMs }),
    onUnexpected: (error) => unexpected.push(error),
    onRefused: (error) => refusals.push(error),
  });
  const route: HttpRoute = {
    scheme: "http",
    select: (_host, path) => {
      const fitting = gates.filter((_, index) =>
        path.startsWith(setups[index]?.upstream.basePath ?? ""),
      );
      return fitting.toSorted(
        (a, b) => baseLength(setups, gates, b) - baseLength(setups, gates, a),
      )[0];
    },
    ...options.route,
  };
  const accept = (socket: Socket | TLSSocket): void => room.accept(socket, route);
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    onConnection: (socket) =>
      options.secure === undefined ? accept(socket) : options.secure(socket, accept),
  });
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  t.after(async () => {
    agent.destroy();
    await room.close(0);
    await listener.close(0);
    await resolver.close();
    assert.deepEqual(unexpected, []);
  });
  const [gate] = gates;
  if (gate === undefined) throw new Error("a room needs a connection");
  const events = (): Recorded[] => gates.flatMap((one) => one.events);
  return {
    gates,
    gate,
    port: listener.port,
    room,
    agent,
    refusals,
    events,
    operations: () => events().filter((event) => event.type === "operation"),
  };
}

function baseLength(
  setups: readonly ConnectionSetup[],
  gates: readonly TestGate[],
  gate: TestGate,
): number {
  return (setups[gates.indexOf(gate)]?.upstream.basePath ?? "").length;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly text: string;
  readonly trailers: IncomingMessage["trailers"];
}

/** One request through the agent's own pool of connections. */
export function send(
  room: Pick<TestRoom, "port" | "agent">,
  options: {
    method?: string;
    path?: string;
    headers?: OutgoingHttpHeaders;
    body?: string | Buffer;
  },
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request({
      host: "127.0.0.1",
      port: room.port,
      agent: room.agent,
      method: options.method ?? "GET",
      path: options.path ?? "/",
      headers: options.headers ?? {},
    });
    outgoing.on("error", reject);
    outgoing.on("response", (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
      incoming.on("error", reject);
      incoming.on("end", () =>
        resolve({
          status: incoming.statusCode ?? 0,
          headers: incoming.headers,
          text: Buffer.concat(chunks).toString("utf8"),
          trailers: incoming.trailers,
        }),
      );
    });
    outgoing.end(options.body);
  });
}

/** Bytes out, bytes back until the other side closes or is silent for `quietMs`. */
export function raw(port: number, bytes: string | Buffer, quietMs = 300): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    let text = "";
    const done = (): void => {
      socket.destroy();
      resolve(text);
    };
    socket.setTimeout(quietMs, done);
    socket.on("data", (chunk) => (text += chunk.toString("latin1")));
    socket.on("close", done);
    socket.on("error", done);
    socket.write(bytes);
  });
}

/** Waits for something that happens on another connection, failing loudly when it never does. */
export async function eventually(
  what: string,
  holds: () => boolean,
  withinMs = 5_000,
): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
