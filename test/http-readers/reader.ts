// A server of another make, asked what it reads in raw bytes. Each answers every whole request with its reading in a header, so that HEAD tells it too.
import { connect } from "node:net";

export interface Reading {
  readonly method: string;
  /** As the server hands it to a program. */
  readonly target: string;
  readonly host: string;
  /** Base64. */
  readonly body: string;
  /** `name: value` in lower case names, where the server hands them out. */
  readonly trailers?: readonly string[];
  /** Decoded, as the server would match it. */
  readonly path: string;
  /** Only Go: what path.Clean makes of it, and with which status a ServeMux answers (301: it would send the client elsewhere). */
  readonly clean?: string;
  readonly mux?: number;
  /** Parameters, `name=value`, where the server reads them. */
  readonly query?: readonly string[];
}

export interface Read {
  readonly readings: readonly Reading[];
  /** The server asks for more: neither refused nor closed. */
  readonly waits: boolean;
}

export interface Reader {
  readonly name: string;
  readonly port: number;
  close(): Promise<void>;
}

/**
 * What it reads in these bytes, until it closes or says nothing for so long.
 *
 * @param count ends it as soon as so many requests are read
 */
export function read(
  { port }: Reader,
  bytes: string,
  quietMs: number,
  count = Infinity,
): Promise<Read> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    let text = "";
    const done = (waits: boolean): void => {
      socket.destroy();
      resolve({ readings: readingsOf(text), waits });
    };
    socket.setTimeout(quietMs, () => done(true));
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      if (count < Infinity && text.split("\r\n\r\n").length > count) done(false);
    });
    socket.on("close", () => done(false));
    socket.on("error", () => done(false));
    socket.write(Buffer.from(bytes, "latin1"));
  });
}

function readingsOf(answers: string): Reading[] {
  return [...answers.matchAll(/^x-reading: (\S+)\r$/gim)].map(
    ([, text = ""]) => JSON.parse(Buffer.from(text, "base64").toString("utf8")) as Reading,
  );
}
