// Chooses among the hosts of a Connection, in order, as libpq does with several hosts and target_session_attrs.
import type { HostAddress, TargetSessionAttrs } from "../../contract/control.ts";
import { ProxyError } from "../errors.ts";
import { terminate } from "./messages.ts";
import { connectHost } from "./upstream.ts";
import type { ServerRole, UpstreamLeg, UpstreamRequest } from "./upstream.ts";

/** Of several hosts each gets this long; five of them fit into the time a client has to be connected. */
const hostTimeoutMs = 5_000;

/**
 * A session on the first host that can be used. The next is tried when one cannot be reached, takes no connections or is
 * not what `targetSessionAttrs` asks for; a host that refuses the credential or cannot prove itself ends the search, as in libpq.
 *
 * @throws ProxyError that names every host tried and why it was not used; or the signal's reason
 */
export async function connectUpstream(request: UpstreamRequest): Promise<UpstreamLeg> {
  const { endpoint, connection, signal } = request;
  const { fallbacks = [], targetSessionAttrs = "any" } = endpoint;
  const hosts: readonly HostAddress[] = [endpoint, ...fallbacks];
  if (hosts.length === 1 && targetSessionAttrs === "any") return connectHost(request);
  const refused: string[] = [];
  /** Taken when no standby is found. */
  let reserve: UpstreamLeg | undefined;
  try {
    for (const { host, port } of hosts) {
      const found = await tryHost(request, { host, port });
      if (typeof found === "string") {
        refused.push(`${host}:${port} (${found})`);
        continue;
      }
      const unsuited = unsuitedFor(targetSessionAttrs, found, request);
      if (unsuited === undefined) return found;
      refused.push(`${host}:${port} (${unsuited})`);
      if (targetSessionAttrs === "prefer-standby" && reserve === undefined) reserve = keep(found);
      else close(found);
    }
    const kept = reserve;
    reserve = undefined;
    if (kept !== undefined && !kept.socket.destroyed) return kept;
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof ProxyError && refused.length > 0
      ? new ProxyError(error.code, `${error.message} (tried before: ${refused.join("; ")})`, {
          cause: error,
        })
      : error;
  } finally {
    if (reserve !== undefined) close(reserve);
  }
  throw new ProxyError(
    "UpstreamUnreachable",
    `connection ${connection}: no host can be used: ${refused.join("; ")}`,
  );
}

/** A session, or why the next host is to be tried. */
async function tryHost(
  request: UpstreamRequest,
  { host, port }: HostAddress,
): Promise<UpstreamLeg | string> {
  const { connection, endpoint } = request;
  const deadline = AbortSignal.timeout(hostTimeoutMs);
  const signal = AbortSignal.any([request.signal, deadline]);
  try {
    return await connectHost({ ...request, endpoint: { ...endpoint, host, port }, signal });
  } catch (error) {
    request.signal.throwIfAborted();
    if (deadline.aborted) return `no session within ${hostTimeoutMs / 1000} s`;
    if (!(error instanceof ProxyError) || error.code !== "UpstreamUnreachable") throw error;
    return error.message.replace(`connection ${connection}: `, "");
  }
}

/** Undefined when it is suited. */
function unsuitedFor(
  wanted: TargetSessionAttrs,
  { role }: UpstreamLeg,
  { settings }: UpstreamRequest,
): string | undefined {
  if (role === undefined) return undefined;
  // A read-only default that we asked for ourselves tells nothing about the server.
  const asked = settings["default_transaction_read_only"] !== undefined;
  const readOnly = role.standby || (role.readOnly && !asked);
  return suits(wanted, role, readOnly)
    ? undefined
    : `${role.standby ? "a standby" : readOnly ? "a primary that is read-only" : "a primary"}, and targetSessionAttrs is ${wanted}`;
}

function suits(wanted: TargetSessionAttrs, role: ServerRole, readOnly: boolean): boolean {
  switch (wanted) {
    case "any":
      return true;
    case "read-write":
      return !readOnly;
    case "read-only":
      return readOnly;
    case "primary":
      return !role.standby;
    case "standby":
    case "prefer-standby":
      return role.standby;
  }
}

const ignore = (): void => undefined;

function keep(leg: UpstreamLeg): UpstreamLeg {
  leg.socket.on("error", ignore);
  return leg;
}

function close({ socket }: UpstreamLeg): void {
  socket.on("error", ignore);
  socket.end(terminate());
  socket.resume();
}
