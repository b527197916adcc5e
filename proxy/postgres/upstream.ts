// The server's side of setting up a connection: TCP, TLS verified in full, SCRAM with the leased password, and the settings we pin.
import { X509Certificate } from "node:crypto";
import { TLSSocket } from "node:tls";
import type { Socket } from "node:net";
import type { Endpoint, Lease } from "../../contract/control.ts";
import { ProxyError } from "../errors.ts";
import { authenticate } from "./authenticate.ts";
import { ByteReader, ConnectionEnded } from "./byte-reader.ts";
import { readFields, readParameterStatus } from "./decode.ts";
import { headerBytes, WireError } from "./framer.ts";
import { backend, query, startupMessage } from "./messages.ts";
import { openSocket } from "./upstream-socket.ts";
import type { DialUpstream } from "./upstream-socket.ts";

export interface UpstreamRequest {
  /** `namespace/name`, as errors name it. */
  readonly connection: string;
  readonly endpoint: Endpoint;
  readonly lease: Lease;
  readonly dial: DialUpstream;
  /** The client's user, used only where the Connection has no credential. */
  readonly clientUser: string;
  readonly database: string | undefined;
  readonly settings: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

export interface ServerRole {
  readonly standby: boolean;
  /** The default of its transactions, as the session has it. */
  readonly readOnly: boolean;
}

export interface UpstreamLeg {
  readonly socket: Socket;
  /** With the host that the session is on. */
  readonly endpoint: Endpoint;
  /** Known only where it was asked for. */
  readonly role: ServerRole | undefined;
  readonly parameters: ReadonlyMap<string, string>;
  /** What it said meanwhile (a login trigger, say), each a whole message. */
  readonly notices: readonly Buffer[];
  /** Process id and secret of the server's BackendKeyData, as they came. */
  readonly key: Buffer | undefined;
  readonly rest: Buffer;
}

/** A trigger at login says a line or two; what it says beyond this nobody hears. */
const maxNotices = 32;
/** A handshake message is short; a server that sends more is none. */
const maxHandshakeMessageBytes = 32 * 1024;

/** One host; `connectUpstream` chooses among several. */
export async function connectHost(request: UpstreamRequest): Promise<UpstreamLeg> {
  const { connection, endpoint, lease, signal } = request;
  const socket = await openSocket(request);
  const reader = new ByteReader(socket, signal);
  const notices: Buffer[] = [];
  const read = (): Promise<HandshakeMessage> => readMessage(reader, connection, notices);
  try {
    const user = userOf(request);
    const { database, settings } = request;
    const named = database === undefined ? { user } : { user, database };
    socket.write(startupMessage({ ...named, ...settings }));
    const tls = socket instanceof TLSSocket ? socket : undefined;
    await authenticate({
      read,
      write: (bytes) => socket.write(bytes),
      password: lease.kind === "password" ? lease.password : undefined,
      user,
      allowed: endpoint.dangerouslyAllowAuthentication ?? [],
      tls,
      connection,
    });
    const { parameters, key } = await readSettings(read);
    checkDialect(parameters, connection);
    const role =
      endpoint.targetSessionAttrs === undefined
        ? undefined
        : (reportedRole(parameters) ?? (await askRole(socket, read)));
    return { socket, endpoint, role, parameters, notices, key, rest: reader.detach() };
  } catch (error) {
    reader.detach();
    socket.destroy();
    throw translate(error, connection, signal);
  }
}

/** Without a credential, the name that the client certificate proves; the client's own word counts only where nothing is proven. */
function userOf({ endpoint, lease, clientUser }: UpstreamRequest): string {
  if (lease.kind === "password") return lease.username;
  const { clientCertificate } = endpoint.tls;
  if (clientCertificate === undefined) return clientUser;
  const { CN: name } = new X509Certificate(clientCertificate.certificate).toLegacyObject().subject;
  return typeof name === "string" ? name : clientUser;
}

/** Since PostgreSQL 14 servers report what they are. */
function reportedRole(parameters: ReadonlyMap<string, string>): ServerRole | undefined {
  const standby = parameters.get("in_hot_standby");
  const readOnly = parameters.get("default_transaction_read_only");
  return standby === undefined || readOnly === undefined
    ? undefined
    : { standby: standby === "on", readOnly: readOnly === "on" };
}

const roleQuery =
  "SELECT pg_catalog.pg_is_in_recovery()::pg_catalog.text || ' ' || pg_catalog.current_setting('default_transaction_read_only')";

async function askRole(socket: Socket, read: Read): Promise<ServerRole> {
  socket.write(query(roleQuery));
  let answer = "";
  for (;;) {
    const { type, bytes } = await read();
    // One column: its count (2 bytes) and its length (4) stand before the text.
    if (type === backend.dataRow) answer = bytes.toString("latin1", headerBytes + 6);
    if (type !== backend.readyForQuery) continue;
    const [standby, readOnly] = answer.split(" ");
    return { standby: standby === "true", readOnly: readOnly === "on" };
  }
}

export interface HandshakeMessage {
  readonly type: number;
  /** Header included, as the decoders want it. */
  readonly bytes: Buffer;
}

type Read = () => Promise<HandshakeMessage>;

/** The next message that is no notice; an ErrorResponse is thrown. */
async function readMessage(
  reader: ByteReader,
  connection: string,
  notices: Buffer[],
): Promise<HandshakeMessage> {
  for (;;) {
    const head = await reader.peek(headerBytes);
    const length = head.readInt32BE(1);
    if (length < 4 || length > maxHandshakeMessageBytes)
      throw new WireError(`a handshake message of ${length} bytes cannot be`);
    const bytes = await reader.read(1 + length);
    const type = bytes[0] ?? 0;
    if (type === backend.error) throw refusedByServer(bytes, connection);
    if (type !== backend.notice) return { type, bytes };
    if (notices.length < maxNotices) notices.push(bytes);
  }
}

async function readSettings(
  read: Read,
): Promise<{ parameters: Map<string, string>; key: Buffer | undefined }> {
  const parameters = new Map<string, string>();
  let key: Buffer | undefined;
  for (;;) {
    const { type, bytes } = await read();
    switch (type) {
      case backend.parameterStatus: {
        const { name, value } = readParameterStatus(bytes, 0, bytes.length);
        parameters.set(name, value);
        break;
      }
      case backend.backendKeyData:
        key = bytes.subarray(headerBytes);
        break;
      case backend.negotiateProtocolVersion:
        break;
      case backend.readyForQuery:
        return { parameters, key };
      default:
        throw new WireError(`the server sent a message of type ${type} while starting`);
    }
  }
}

/** Settings under which the SQL was understood; a server (or a pooler before it) that has others is not spoken to. */
export function isForeignDialect(name: string, value: string): boolean {
  switch (name) {
    case "standard_conforming_strings":
      return value !== "on";
    case "client_encoding":
      return value !== "UTF8";
    case "search_path":
      return value.replaceAll(/\s/g, "") !== "public,pg_temp";
    default:
      return false;
  }
}

/** What a session may turn a pinned setting into later: no path at all (policy/sql/settings.ts). */
export function becomesForeignDialect(name: string, value: string): boolean {
  if (name === "search_path" && (value === "" || value === '""')) return false;
  return isForeignDialect(name, value);
}

function checkDialect(parameters: ReadonlyMap<string, string>, connection: string): void {
  for (const [name, value] of parameters) {
    if (isForeignDialect(name, value))
      throw new ProxyError(
        "UpstreamProtocol",
        `connection ${connection}: the server set ${name} to another value than asked for, so its SQL would be misread`,
      );
  }
}

function refusedByServer(bytes: Buffer, connection: string): ProxyError {
  const fields = readFields(bytes, 0, bytes.length);
  const code = fields.get("C") ?? "";
  if (code.startsWith("28"))
    return new ProxyError(
      "UpstreamAuthentication",
      `the server refused the credential of connection ${connection} (${code}); its Secret or the role in the database has to be mended`,
    );
  const text = fields.get("M") ?? "";
  if (code === "3D000")
    return new ProxyError("ConnectionUnknown", `connection ${connection}: ${text}`);
  return new ProxyError(
    "UpstreamUnreachable",
    `the server refused a session on connection ${connection} (${code}): ${text}`,
  );
}

function translate(error: unknown, connection: string, signal: AbortSignal): unknown {
  if (error instanceof ProxyError) return error;
  if (signal.aborted) return signal.reason;
  if (error instanceof WireError)
    return new ProxyError("UpstreamProtocol", `connection ${connection}: ${error.message}`, {
      cause: error,
    });
  // With TLS 1.3 a server refuses a client certificate only after the handshake.
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (code.startsWith("ERR_SSL_"))
    return new ProxyError(
      "UpstreamTls",
      `connection ${connection}: the server ended TLS (${code}); check endpoint.tls.clientCertificateSecretRef of the Connection`,
      { cause: error },
    );
  const why =
    error instanceof ConnectionEnded
      ? "the server closed the connection while it was being set up"
      : "the connection to the server broke while it was being set up";
  return new ProxyError("UpstreamUnreachable", `connection ${connection}: ${why}`, {
    cause: error,
  });
}
