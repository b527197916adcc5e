// The passthrough room: TLS that is not opened. The name in the ClientHello is decided on once, then bytes are carried and counted.
import type { Socket } from "node:net";

import type { ConnectionId } from "../../policy/operation.ts";
import { recognisePassthrough } from "../../policy/passthrough/recognise.ts";
import { changedRules } from "../changed-rules.ts";
import { ProxyError } from "../errors.ts";
import type { Dial } from "../net/dial.ts";
import { endDeadlineMs } from "../pipeline.ts";
import type { Gate, GateSession, LiveGrant, Passage } from "../pipeline.ts";
import { alerts } from "./client-hello.ts";
import { ClientLeft, NoHello, readHello } from "./hello.ts";
import { relay } from "./relay.ts";

export interface PassthroughRoomOptions {
  readonly dial: Dial;
  /** Refused before it became an operation: for the record. */
  readonly onRefused: (error: ProxyError, connection?: ConnectionId) => void;
}

/** Where a connection came in. */
export interface PassthroughPlace {
  readonly gate: Gate;
  /** The names of the Connection. */
  readonly names: readonly string[];
  /** That agents dial by name. */
  readonly port: number;
}

export interface PassthroughRoom {
  /** Takes a connection before its first byte. */
  accept(socket: Socket, place: PassthroughPlace): void;
  /**
   * Decides on a tunnel before it is opened: who takes it, or why nobody does. What is asked for inside it has to be this host.
   * Throws ProxyError when there is no grant to decide under.
   */
  open(place: PassthroughPlace, host: string, signal: AbortSignal): Promise<OpenedTunnel | Refused>;
  close(): Promise<void>;
}

export interface OpenedTunnel {
  readonly take: (tunnel: Socket) => void;
}

type Refused = Extract<Passage, { go: false }>;

/** Where no policy says otherwise: longer than clients keep an idle connection, shorter than a leak would take to be noticed. */
const defaultIdleMs = 600_000;
/** Connections at one time: each is two sockets and no buffer of ours. */
const maxOpen = 1_024;

interface Admitted {
  readonly session: GateSession;
  readonly passage: Extract<Passage, { go: true }>;
  readonly host: string;
}

export function createPassthroughRoom(options: PassthroughRoomOptions): PassthroughRoom {
  const { onRefused } = options;
  const open = new Set<Socket>();

  const run = (socket: Socket, place: PassthroughPlace, story: () => Promise<void>): void => {
    if (open.size >= maxOpen) {
      socket.destroy();
      return;
    }
    open.add(socket);
    socket.once("close", () => open.delete(socket));
    story().catch((error: unknown) => {
      if (error instanceof ProxyError && !(error instanceof ClientLeft))
        onRefused(error, place.gate.connection);
      sayAlert(socket, error);
    });
  };

  return {
    accept: (socket, place) =>
      run(socket, place, async () => {
        const hello = await readHello(socket);
        if (!place.names.includes(hello.host)) throw otherName(hello.host, place);
        const admitted = await admit(place, hello.host, goneWith(socket));
        if (!("go" in admitted)) await carry(socket, hello.bytes, admitted, place, options.dial);
        else sayAlert(socket, admitted.error);
      }),
    async open(place, host, signal) {
      const admitted = await admit(place, host, signal);
      if ("go" in admitted) return admitted;
      return {
        take: (tunnel) =>
          run(tunnel, place, async () => {
            const bytes = await expectHello(tunnel, host, place, admitted);
            await carry(tunnel, bytes, admitted, place, options.dial);
          }),
      };
    },
    async close() {
      for (const socket of open) socket.destroy();
    },
  };
}

/** What was opened for one host leads to that host; the client's bytes, once they ask for it. */
async function expectHello(
  tunnel: Socket,
  host: string,
  place: PassthroughPlace,
  { passage, session }: Admitted,
): Promise<Buffer> {
  try {
    const hello = await readHello(tunnel);
    if (hello.host !== host) throw otherName(hello.host, place);
    return hello.bytes;
  } catch (error) {
    passage.done({ status: "error", error: codeOf(error) });
    session.close();
    throw error;
  }
}

/** A refusal is in the record when this returns it. */
async function admit(
  place: PassthroughPlace,
  host: string,
  signal: AbortSignal,
): Promise<Admitted | Refused> {
  const { gate, port } = place;
  if (gate.current() === undefined) await gate.grant(signal);
  const session = gate.open({ label: `${host}:${port}` });
  try {
    const passage = await session.pass(recognisePassthrough(host, port), {
      exact: () => `TLS ${host}:${port}`,
      signal,
    });
    if (passage.go) return { session, passage, host };
    session.close();
    return passage;
  } catch (error) {
    session.close();
    throw error;
  }
}

async function carry(
  socket: Socket,
  first: Buffer,
  { session, passage, host }: Admitted,
  place: PassthroughPlace,
  dial: Dial,
): Promise<void> {
  const startedMs = performance.now();
  try {
    const live = await grantOf(place.gate, session);
    const either = AbortSignal.any([goneWith(socket), session.ended]);
    const upstream = await dial(live.endpoint.host, live.endpoint.port, either);
    const { idleTimeoutSeconds, bytesPerResult } = live.bundle.limits;
    const operation = recognisePassthrough(host, place.port);
    const carried = relay({
      agent: socket,
      upstream,
      first,
      idleMs: idleTimeoutSeconds === undefined ? defaultIdleMs : idleTimeoutSeconds * 1000,
      maxBytesOut: bytesPerResult ?? Number.POSITIVE_INFINITY,
      check: changedRules(place.gate, session, operation, passage, live),
    });
    const cut = endWith(session, (cause) => carried.cut(cause));
    const { bytesIn, bytesOut, cause } = await carried.ended;
    cut();
    passage.done({
      status: cause === undefined ? "ok" : "error",
      bytesIn,
      bytesOut,
      durationMs: Math.round((performance.now() - startedMs) * 10) / 10,
      ...(cause !== undefined && { error: cause.code }),
    });
  } catch (error) {
    passage.done({ status: "error", error: codeOf(error) });
    sayAlert(socket, error);
  } finally {
    session.close();
  }
}

/** A hold can last longer than a grant: the endpoint is that of now. */
function grantOf(gate: Gate, session: GateSession): LiveGrant | Promise<LiveGrant> {
  if (session.ended.aborted) throw session.ended.reason;
  return gate.current() ?? gate.grant(session.ended);
}

/** A tunnel has no idle point: a quarantine cuts at once, everything else after the deadline. Returns how to forget about it. */
function endWith(session: GateSession, cut: (cause: ProxyError) => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  const onEnd = (): void => {
    const reason: unknown = session.ended.reason;
    const cause =
      reason instanceof ProxyError ? reason : new ProxyError("GrantEnded", "the session is over");
    if (cause.code === "Quarantined") cut(cause);
    else timer = setTimeout(() => cut(cause), endDeadlineMs);
  };
  if (session.ended.aborted) onEnd();
  else session.ended.addEventListener("abort", onEnd, { once: true });
  return () => {
    clearTimeout(timer);
    session.ended.removeEventListener("abort", onEnd);
  };
}

function otherName(host: string, { names }: PassthroughPlace): ProxyError {
  return new ProxyError(
    "ConnectionUnknown",
    `the TLS handshake asks for ${host}, which is not what was dialled; this connection is for ${names.join(", ")}`,
  );
}

function goneWith(socket: Socket): AbortSignal {
  const gone = new AbortController();
  const leave = (): void => gone.abort(new ClientLeft());
  if (socket.destroyed) leave();
  else socket.once("close", leave);
  return gone.signal;
}

function codeOf(error: unknown): string {
  return error instanceof ProxyError ? error.code : "UpstreamProtocol";
}

/** How TLS says no before a handshake: one alert, in the clear (RFC 8446 section 6). Then the end. */
function sayAlert(socket: Socket, error: unknown): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  socket.end(Buffer.from([21, 3, 1, 0, 2, 2, alertOf(error)]));
  // Unread bytes would reset the alert away; a client that stays all the same is cut.
  socket.resume();
  const cut = setTimeout(() => socket.destroy(), lingerMs).unref();
  socket.once("close", () => clearTimeout(cut));
}

function alertOf(error: unknown): number {
  if (error instanceof NoHello) return error.alert;
  if (!(error instanceof ProxyError)) return alerts.internalError;
  if (error.code === "ConnectionUnknown") return alerts.unrecognizedName;
  return error.status >= 500 ? alerts.internalError : alerts.accessDenied;
}

const lingerMs = 2_000;
