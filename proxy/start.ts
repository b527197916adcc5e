// Builds one proxy from its parts and listens: the same for an injected container and for local mode.
import type { Logger } from "pino";
import type { AddressMap, ConnectionAddress } from "../contract/addresses.ts";
import type { Subject } from "../policy/operation.ts";
import { createShipper } from "./audit/ship.ts";
import { openSpool } from "./audit/spool.ts";
import { ProxyError } from "./errors.ts";
import { createGate, type ManagedGate } from "./gate.ts";
import { OperatorClient, type OperatorAddress } from "./grant/client.ts";
import { systemClock } from "./grant/clock.ts";
import { GrantKeeper } from "./grant/keeper.ts";
import { ProofKey } from "./grant/keys.ts";
import { openListeners } from "./listeners.ts";
import { markFile } from "./mark-file.ts";
import { PodMarks } from "./marks.ts";
import { createMetrics, type ProxyMetrics } from "./metrics.ts";
import { createDial } from "./net/dial.ts";
import { createResolver } from "./net/resolve.ts";
import { Refused } from "./refused.ts";
import { openRooms } from "./rooms.ts";
import { isOwnAddress } from "./surface.ts";
import { createPodAuthority, type PodAuthority } from "./tls/authority.ts";
import { writeTrust } from "./tls/trust.ts";

export interface ProxyOptions {
  readonly subject: Subject;
  readonly addresses: AddressMap;
  readonly operator: OperatorAddress;
  /** Reads the token that proves which pod this is; called at every exchange. */
  readonly readToken: (signal: AbortSignal) => Promise<string>;
  /** `namespace/pod/podUid`, or `local/<boot id>`. */
  readonly stream: string;
  readonly spoolDirectory: string;
  readonly authorityDirectory: string;
  /** Where the trust bundle is written for the agent, and the truststore beside it. */
  readonly trustFile: string;
  /** PEM roots that the agent trusts besides the pod's own CA: the public ones, and those of this installation. */
  readonly roots: readonly string[];
  readonly extraCAs: readonly string[];
  readonly resolvConf: string;
  readonly version: string;
  readonly logger: Logger;
  /** Local mode: endpoints may be on this machine, and every event says that neither groups nor duties were checked. */
  readonly local?: { readonly guardKey: string; readonly keyed: (connection: string) => boolean };
}

export interface RunningProxy {
  readonly keeper: GrantKeeper;
  readonly gates: ReadonlyMap<string, ManagedGate>;
  readonly metrics: ProxyMetrics;
  readonly authority: PodAuthority;
  readonly isReady: () => boolean;
  /** The spool refuses everything until the process starts anew. */
  readonly hasFailed: () => boolean;
  /** Drains, flushes the last events, ends. */
  close(): Promise<void>;
}

/** Operations under way may finish this long after SIGTERM; the pod's own grace is 30 s by default. */
const drainMs = 5_000;
/** The last events get this long to reach the operator; what stays is in the spool. */
const flushMs = 5_000;

export async function startProxy(options: ProxyOptions): Promise<RunningProxy> {
  const { subject, addresses, logger, local } = options;
  const key = await ProofKey.create(Date.now);
  const client = new OperatorClient({
    address: options.operator,
    key,
    readToken: options.readToken,
  });
  const spool = openSpool({ directory: options.spoolDirectory, stream: options.stream });
  const marks = new PodMarks(markFile(options.spoolDirectory, options.stream));
  const gates = new Map<string, ManagedGate>();
  const keeper = new GrantKeeper({
    client,
    key,
    clock: systemClock(),
    random: Math.random,
    proxyVersion: options.version,
    connections: addresses.connections.map(({ connection }) => connection),
    sessionsOn: (connection) => gates.get(connection)?.sessions ?? 0,
    onProblem: (what, error) =>
      logger.warn({ event: "operator-problem", what, error: messageOf(error) }),
  });
  const shipper = createShipper({
    spool,
    send: (batch, signal) => keeper.shipEvents(batch, signal),
    sign: (hash) => keeper.signHead(hash),
  });
  const metrics = createMetrics({
    sessions: () => [...gates].map(([connection, gate]) => ({ connection, open: gate.sessions })),
    unshipped: () => spool.status().unshipped,
    oldestUnshippedMs: () => spool.status().oldestUnshippedMs,
    spoolBytes: () => spool.status().bytes,
    budgets: () =>
      [...gates].flatMap(([connection, gate]) =>
        gate.admissions.held().map((held) => ({ connection, ...held })),
      ),
    viewAgeMs: () => keeper.viewAgeMs ?? 0,
    grants: () =>
      addresses.connections.filter(({ connection }) => keeper.peek(connection) !== undefined)
        .length,
  });
  for (const entry of addresses.connections) gates.set(entry.connection, gateFor(entry));

  function gateFor({ connection, protocol }: ConnectionAddress): ManagedGate {
    const [namespace = "", name = ""] = connection.split("/");
    return createGate({
      connection: { namespace, name, protocol },
      subject,
      grants: keeper,
      recorder: spool,
      marks,
      now: Date.now,
      askBudgets: (call, signal) => keeper.askBudgets(call, signal),
      ...(local === undefined ? {} : { assurance: "local" as const }),
      onDecision: (decision, operation) => metrics.decided(connection, decision, operation),
    });
  }

  keeper.onChange((connection, live, cause) => {
    if (live !== undefined) shipper.nudge();
    else
      gates
        .get(connection)
        ?.end(
          cause ?? new ProxyError("GrantEnded", `the grant for connection ${connection} is over`),
        );
  });

  const names = [...new Set(addresses.connections.flatMap((entry) => entry.names))];
  const authority = await createPodAuthority({
    names,
    storage: { directory: options.authorityDirectory },
  });
  await writeTrust(options.trustFile, {
    roots: options.roots,
    extraCAs: options.extraCAs,
    podCa: authority.certificate,
  });
  const resolver = createResolver({
    resolvConf: options.resolvConf,
    allowLocalhost: local !== undefined,
  });
  const ours = new Set(
    addresses.connections.flatMap((entry) => [
      `${entry.endpoint.address}:${entry.endpoint.port}`,
      ...entry.hosts.map(({ address }) => `${address}:${entry.port}`),
    ]),
  );
  if (addresses.forwardProxy !== undefined)
    ours.add(`${addresses.forwardProxy.address}:${addresses.forwardProxy.port}`);
  const dial = createDial({
    resolver,
    // On a laptop targets may run on this very machine.
    deny: (address, port) =>
      ours.has(`${address}:${port}`) || (local === undefined && isOwnAddress(address)),
    allowLoopback: local !== undefined,
  });
  const refused = new Refused({
    subject,
    recorder: spool,
    now: Date.now,
    ...(local === undefined ? {} : { assurance: "local" as const }),
  });
  const rooms = await openRooms({
    dial,
    authority,
    addresses,
    onRefused: (error, connection) => refused.note(error, connection),
    onUnexpected: (error) => logger.error({ event: "unexpected-failure", error: messageOf(error) }),
  });
  const onRefused = (error: ProxyError): void => refused.note(error);
  const redirect =
    addresses.interception === "redirect"
      ? await (await import("./redirect/open.ts")).openRedirect({ ...options, onRefused })
      : undefined;
  const listeners = await openListeners({
    addresses,
    gates,
    rooms,
    authority,
    onRefused,
    logger,
    ...(local === undefined ? {} : { guard: local }),
    ...(redirect === undefined ? {} : { redirect: redirect.listeners }),
  });
  keeper.start();

  let isReady = true;
  return {
    keeper,
    gates,
    metrics,
    authority,
    isReady: () => isReady,
    hasFailed: () => spool.status().failure !== undefined,
    async close() {
      isReady = false;
      // Nobody new comes in; those who are here leave once they are told, which the listeners wait for.
      const closed = listeners.close();
      const ending = new ProxyError("ShuttingDown", "the pod is ending");
      for (const gate of gates.values()) gate.end(ending);
      await sessionsGone(gates, drainMs);
      await Promise.all([closed, rooms.close()]);
      redirect?.close();
      refused.close();
      const { unshipped } = await shipper.flush(flushMs);
      if (unshipped > 0) logger.warn({ event: "events-left-in-spool", unshipped });
      await shipper.close();
      await spool.close();
      // Nothing is under way any more: what was not spent goes back.
      await Promise.all([...gates.values()].map((gate) => gate.admissions.close()));
      await keeper.close();
      await resolver.close();
    },
  };
}

async function sessionsGone(
  gates: ReadonlyMap<string, ManagedGate>,
  deadlineMs: number,
): Promise<void> {
  const deadline = Date.now() + deadlineMs;
  while (Date.now() < deadline && [...gates.values()].some((gate) => gate.sessions > 0))
    await new Promise((resolve) => setTimeout(resolve, 50));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
