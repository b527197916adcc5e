// Everything a case is sent to: the proxy before an origin that keeps the bytes, in several lanes, and the servers it is compared with.
import { connect } from "node:net";

import { startByteOrigin } from "../integration/http-byte-origin.ts";
import type { Arrived, ByteOrigin } from "../integration/http-byte-origin.ts";
import { startRoom } from "../integration/http-proxy-fixture.ts";
import type { TestRoom } from "../integration/http-proxy-fixture.ts";
import { read } from "../http-readers/reader.ts";
import type { Read, Reader } from "../http-readers/reader.ts";
import { startReaders } from "../http-readers/readers.ts";
import type { Played } from "./judge.ts";
import { last } from "./requests.ts";

/** Who agrees on where a request ends has answered and closed long before. */
const quietMs = 120;
/** For a second look at what could be slowness alone. */
const patientMs = 1_500;

interface Lane {
  readonly room: TestRoom;
  readonly origin: ByteOrigin;
}

export interface World {
  readonly readers: readonly Reader[];
  readonly lanes: readonly Lane[];
  play(lane: Lane, bytes: string, isPatient?: boolean): Promise<Played>;
  /** What the readers find in what arrived at the origin, sent to them as it was. */
  reread(arrived: readonly Arrived[]): Promise<Readonly<Record<string, Read>>>;
  close(): Promise<void>;
}

export async function startWorld(laneCount: number): Promise<World> {
  const cleanups: (() => Promise<void> | void)[] = [];
  const readers = await startReaders();
  const openLane = async (): Promise<Lane> => {
    const origin = await startByteOrigin();
    const room = await startRoom(
      { after: (hook) => void cleanups.push(hook as () => Promise<void>) },
      [
        {
          upstream: { port: origin.port },
          rules: [{ name: "paths", action: "Allow", http: { paths: ["/**"] } }],
        },
      ],
      {
        route: {
          select: (host, _path, port) =>
            host === "a" && (port ?? 80) === 80 ? room.gate : undefined,
        },
      },
    );
    return { room, origin };
  };
  const lanes = await Promise.all(Array.from({ length: laneCount }, openLane));
  return {
    readers,
    lanes,
    async play({ room, origin }, bytes, isPatient = false) {
      const waitMs = isPatient ? patientMs : quietMs;
      // What is still on its way from a first look must not stand in the second.
      if (isPatient) await new Promise((resolve) => setTimeout(resolve, patientMs));
      origin.clear();
      const [reads] = await Promise.all([
        readAll(readers, `${bytes}${last}`, waitMs),
        send(room.port, `${bytes}${last}`, waitMs),
      ]);
      return { bytes, arrived: [...origin.arrived], faults: [...origin.faults], reads };
    },
    reread: (arrived) =>
      readAll(readers, arrived.map(({ bytes }) => bytes).join(""), patientMs, arrived.length),
    async close() {
      for (const cleanup of cleanups) await cleanup();
      for (const { origin } of lanes) await origin.close();
      for (const reader of readers) await reader.close();
    },
  };
}

async function readAll(
  readers: readonly Reader[],
  bytes: string,
  waitMs: number,
  count?: number,
): Promise<Readonly<Record<string, Read>>> {
  const pairs = readers.map(async (reader) => [
    reader.name,
    await read(reader, bytes, waitMs, count),
  ]);
  return Object.fromEntries(await Promise.all(pairs)) as Record<string, Read>;
}

/** Until the proxy closes, or says nothing for so long. */
function send(port: number, bytes: string, waitMs: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const done = (): void => {
      socket.destroy();
      // What it broke off reaches the origin a moment later.
      setTimeout(resolve, 10);
    };
    socket.setTimeout(waitMs, done);
    socket.resume();
    socket.on("close", done);
    socket.on("error", done);
    socket.write(Buffer.from(bytes, "latin1"));
  });
}
