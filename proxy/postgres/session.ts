// One client connection from its first byte to its last: start, grant, connect upstream, say welcome, converse.
import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { ProxyError } from "../errors.ts";
import type { Gate, GateSession, LiveGrant } from "../pipeline.ts";
import { ConnectionEnded } from "./byte-reader.ts";
import { Chunks } from "./chunks.ts";
import { cancelUpstream } from "./cancel.ts";
import type { CancelKey } from "./cancel.ts";
import { startClient } from "./client-startup.ts";
import type { ClientStart } from "./client-startup.ts";
import { Conversation } from "./conversation.ts";
import { Exchange } from "./exchange.ts";
import { openAside } from "./aside.ts";
import { MaskSource } from "./mask-source.ts";
import {
  authenticationOk,
  backendKeyData,
  negotiateProtocolVersion,
  parameterStatus,
  readyForQuery,
} from "./messages.ts";
import { passNotice } from "./notices.ts";
import { Outbox } from "./outbox.ts";
import { OverloadSource } from "./overloads.ts";
import { asProxyError, fatalMessage } from "./refusal.ts";
import { admitReplication, studyReplication } from "./replication.ts";
import type { Room } from "./room.ts";
import { SearchPath } from "./search-path.ts";
import { SchemaChanges } from "./schema-changes.ts";
import { studyIn } from "./server-encoding.ts";
import { heldSettings, SessionSettings } from "./session-settings.ts";
import { chooseDatabase, readStartupParameters } from "./startup-parameters.ts";
import type { Startup } from "./startup-parameters.ts";
import { connectUpstream } from "./upstream-hosts.ts";
import type { UpstreamLeg, UpstreamRequest } from "./upstream.ts";

/** To be connected beside a session, and to answer; the client waits meanwhile. */
const asideTimeoutMs = 15_000;

/** Never rejects: whatever goes wrong is said to the client, and both sockets are closed when it resolves. */
export async function serve(first: Socket, gate: Gate, room: Room): Promise<void> {
  const connection = `${gate.connection.namespace}/${gate.connection.name}`;
  let socket = first;
  first.allowHalfOpen = true;
  first.setNoDelay(true);
  first.on("error", () => first.destroy());
  try {
    const signal = AbortSignal.any([AbortSignal.timeout(room.startupDeadlineMs), room.closing]);
    const start = await startClient(first, room.tlsContext, signal, (secured) => {
      socket = secured;
    });
    if (start.kind === "cancel") {
      await room.cancelKeys.cancel(start.key);
      start.socket.end();
    } else await serveSession(start, gate, room, connection, signal);
  } catch (error) {
    const said = sayAndClose(socket, error, connection);
    // No session was opened that could record it.
    if (said !== undefined) room.onRefused(said, gate.connection);
  }
}

type SessionStart = ClientStart & { readonly kind: "session" };

async function serveSession(
  start: SessionStart,
  gate: Gate,
  room: Room,
  connection: string,
  deadline: AbortSignal,
): Promise<void> {
  const startup = readStartupParameters(start.parameters, connection);
  const gone = new AbortController();
  const leave = (): void => gone.abort(new ConnectionEnded("the client left"));
  start.socket.once("close", leave);
  const signal = AbortSignal.any([deadline, gone.signal]);
  const grant = await gate.grant(signal);
  const database = chooseDatabase(startup, grant.endpoint.database, connection);
  const session = gate.open({
    ...(startup.chain === undefined ? {} : { chain: startup.chain }),
    ...(startup.label === undefined ? {} : { label: startup.label }),
  });
  try {
    if (startup.replication !== undefined)
      await admitReplication(startup.replication, grant, session, connection, signal);
    const asked: UpstreamRequest = {
      connection,
      endpoint: grant.endpoint,
      lease: grant.lease,
      dial: room.dial,
      clientUser: startup.user,
      database,
      settings: heldSettings(startup.settings, grant.prepared, connection),
      signal,
    };
    const upstream = await connectUpstream(asked);
    start.socket.off("close", leave);
    session.close(
      await converse({
        start,
        startup,
        gate,
        room,
        connection,
        grant,
        session,
        upstream,
        asked,
      }),
    );
  } catch (error) {
    session.close(asProxyError(error, connection));
    sayAndClose(start.socket, error, connection);
  }
}

interface Parties {
  readonly start: SessionStart;
  readonly startup: Startup;
  readonly gate: Gate;
  readonly room: Room;
  readonly connection: string;
  readonly grant: LiveGrant;
  readonly session: GateSession;
  readonly upstream: UpstreamLeg;
  readonly asked: UpstreamRequest;
}

/** Resolves with what ended it, unless the client did. */
async function converse(parties: Parties): Promise<ProxyError | undefined> {
  const { start, startup, gate, room, connection, grant, session, upstream } = parties;
  // Of several hosts the one that was chosen: cancel requests and catalogs are its own.
  const { endpoint } = upstream;
  const key = `${endpoint.host}:${endpoint.port}/${parties.asked.database ?? ""}`;
  const chunks = { client: new Chunks(), upstream: new Chunks() };
  const fromClient = (bytes: Buffer): void => conversation.fromClient(chunks.client.keep(bytes));
  const fromUpstream = (bytes: Buffer): void =>
    conversation.fromUpstream(chunks.upstream.keep(bytes));
  const ends = {
    client: reading(room, start.socket, fromClient),
    upstream: reading(room, upstream.socket, fromUpstream),
    chunks,
  };
  const changes = new SchemaChanges();
  const study = studyIn(upstream.parameters.get("server_encoding"), room.study);
  const exchange = new Exchange({
    gate,
    session,
    study: startup.replication === undefined ? study : studyReplication(study),
    replication: startup.replication,
    literalsOf: room.literalsOf,
    masks: new MaskSource({
      engine: room.masks,
      cache: room.catalogs,
      key,
      current: () => gate.current(),
      masksNow: (masks) => session.masksNow(masks),
      now: room.now,
      changes,
    }),
    overloads: new OverloadSource({
      callsOf: room.callsOf,
      cache: room.overloads,
      key,
      now: room.now,
      changes,
    }),
    changes,
    path: new SearchPath(upstream.parameters.has("search_path")),
    settings: new SessionSettings({
      prepared: grant.prepared,
      asked: startup.settings["default_transaction_read_only"] !== undefined,
      reported: upstream.parameters.get("default_transaction_read_only"),
    }),
    client: new Outbox(ends.client),
    upstream: new Outbox(ends.upstream),
    gathering: room.gathering,
    named: room.named,
    now: room.now,
    holdNoticeMs: room.holdNoticeMs,
    poisonPortal: `chaperone:${randomBytes(12).toString("hex")}`,
    openAside: () =>
      openAside({
        ...parties.asked,
        endpoint,
        lease: gate.current()?.lease ?? grant.lease,
        signal: AbortSignal.any([AbortSignal.timeout(asideTimeoutMs), session.ended, room.closing]),
      }),
    cancel: async () => {
      if (upstream.key === undefined) return;
      await cancelUpstream({ connection, endpoint, dial: room.dial }, upstream.key);
    },
  });
  const conversation = new Conversation(exchange, {
    ...ends,
    ended: session.ended,
    setChain: (chain) => session.setChain(chain),
  });
  const cancelKey = room.cancelKeys.issue(
    () => conversation.cancel(),
    spokenMinor(start.minor) === 2,
  );
  try {
    welcome(exchange, start, upstream, cancelKey);
    conversation.start(start.rest, upstream.rest);
    return await conversation.closed;
  } finally {
    room.cancelKeys.forget(cancelKey);
    exchange.close();
  }
}

/** Bytes of a plain connection are read into the buffer of all, from which they are copied, since they may wait. Those of TLS come as `data`. */
function reading(room: Room, socket: Socket, deliver: (bytes: Buffer) => void): Socket {
  if (socket instanceof TLSSocket) return socket;
  return room.reads.take(socket, deliver) ?? socket;
}

/** 3.1 was never defined; 3.2 differs in the length of cancel keys alone. Upstream we speak 3.0, which every server and pooler knows. */
function spokenMinor(asked: number): 0 | 2 {
  return asked >= 2 ? 2 : 0;
}

function welcome(
  exchange: Exchange,
  start: SessionStart,
  upstream: UpstreamLeg,
  key: CancelKey,
): void {
  const { client } = exchange;
  const options = [...start.parameters.keys()].filter((name) => name.startsWith("_pq_."));
  const minor = spokenMinor(start.minor);
  if (start.minor !== minor || options.length > 0)
    client.send(negotiateProtocolVersion(minor, options));
  client.send(authenticationOk());
  for (const [name, value] of upstream.parameters) client.send(parameterStatus(name, value));
  for (const notice of upstream.notices) passNotice(exchange, notice, 0, notice.length);
  client.send(backendKeyData(key.processId, key.secret));
  client.send(readyForQuery("I"));
  client.flush();
}

/** Before the first query there is no other way to answer: one FATAL, then the end. Returns what was said; undefined when nobody is there. */
function sayAndClose(socket: Socket, error: unknown, connection: string): ProxyError | undefined {
  if (error instanceof ConnectionEnded || socket.destroyed) {
    socket.destroy();
    return undefined;
  }
  const said =
    error instanceof Error && error.name === "TimeoutError"
      ? new ProxyError("UpstreamUnreachable", `connection ${connection} was not set up in time`)
      : asProxyError(error, connection);
  socket.once("error", () => socket.destroy());
  socket.end(fatalMessage(said), () => socket.destroySoon());
  socket.resume();
  return said;
}
