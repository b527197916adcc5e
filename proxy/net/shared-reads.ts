// Reads of plain connections into one buffer for all of them. Without it Node makes 64 KiB for each read,
// which the garbage collector takes back one by one.
import { Socket } from "node:net";
import type { OnReadOpts } from "node:net";

/** What a busy client sends at once; more comes in the next read. */
const bytesPerRead = 64 * 1024;

export class SharedReads {
  /** On Windows reads are begun before there is something to read, so each connection needs its own. */
  readonly #buffer =
    process.platform === "win32" ? undefined : Buffer.allocUnsafeSlow(bytesPerRead);

  /**
   * Takes a connection into a socket whose bytes come to `deliver` instead of as `data` events; valid only while it is called. The one given
   * ends with it, and it with that one. Undefined where the runtime does not let go of the connection, or bytes wait in it: read `data` then.
   */
  take(accepted: Socket, deliver: (chunk: Buffer) => void): Socket | undefined {
    const handle = detach(accepted);
    if (handle === undefined) return undefined;
    const buffer = this.#buffer ?? Buffer.allocUnsafeSlow(bytesPerRead);
    // A connection's reads are often as long as the one before; a view costs as much as copying a kilobyte.
    let chunk = buffer.subarray(0, 0);
    const onread = {
      buffer,
      callback: (length: number): boolean => {
        if (chunk.length !== length) chunk = buffer.subarray(0, length);
        deliver(chunk);
        return true;
      },
    };
    return tied(accepted, handle, onread);
  }

  /**
   * The way back: a socket with `data` events over the same connection, for whoever takes it over. A connection that was read into a buffer of ours is
   * so for good, hence its bytes are copied from there.
   */
  release(socket: Socket): Socket {
    const handle = detach(socket);
    // Its client has not even read the answers before: nobody could go on with it.
    if (handle === undefined) return socket.destroy();
    const buffer = this.#buffer ?? Buffer.allocUnsafeSlow(bytesPerRead);
    const released: Socket = tied(socket, handle, {
      buffer,
      callback: (length) => released.push(Buffer.from(buffer.subarray(0, length))),
    });
    return released;
  }
}

interface Handle {
  reading: boolean;
  readStop(): unknown;
}

/** Node's own `_handle`, which `new Socket({handle})` takes: how its cluster module hands connections on. Not documented, so its shape is looked at. */
function detach(socket: Socket): Handle | undefined {
  if (socket.destroyed || socket.readableLength > 0 || socket.writableLength > 0) return undefined;
  const holder: { _handle?: unknown } = socket as { _handle?: unknown };
  const handle = holder._handle;
  if (!isHandle(handle)) return undefined;
  handle.readStop();
  handle.reading = false;
  holder._handle = null;
  return handle;
}

function isHandle(value: unknown): value is Handle {
  return (
    typeof value === "object" &&
    value !== null &&
    "readStop" in value &&
    typeof value.readStop === "function" &&
    "reading" in value &&
    typeof value.reading === "boolean" &&
    "useUserBuffer" in value
  );
}

function tied(from: Socket, handle: Handle, onread: OnReadOpts): Socket {
  const { allowHalfOpen } = from;
  const socket = new Socket(Object.assign({ handle, allowHalfOpen, onread }) as object);
  // The listener it came from counts its connections by the socket it made, and cuts them by it.
  socket.once("close", () => from.destroy());
  from.once("close", () => socket.destroy());
  return socket;
}
