// A client that sends exactly the bytes a test says and sees every message that comes back, for what drivers never do.
import { once } from "node:events";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { readFields, readString } from "../../proxy/postgres/decode.ts";
import { Framer, headerBytes } from "../../proxy/postgres/framer.ts";
import type { FrameSink } from "../../proxy/postgres/framer.ts";
import { message, startupMessage } from "../../proxy/postgres/messages.ts";

/** A lost answer must fail the test, not hang it; on a machine with ten times its work a catalog is read in seconds. */
const patienceMs = 30_000;

export interface Answer {
  /** The type as a letter: `T`, `D`, `C`, `E`, `Z` … */
  readonly type: string;
  readonly body: Buffer;
}

export class RawClient implements FrameSink {
  readonly socket: Socket;
  readonly blocked = false;
  readonly #framer = new Framer(this);
  readonly answers: Answer[] = [];
  #wake: (() => void) | undefined;
  closed = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#framer.push(chunk);
      this.#wake?.();
    });
    socket.on("error", () => undefined);
    const over = (): void => {
      this.closed = true;
      socket.end();
      this.#wake?.();
    };
    socket.on("end", over);
    socket.on("close", over);
  }

  /** The connection stands, or ended, inside a message. */
  get inMessage(): boolean {
    return !this.#framer.atBoundary;
  }

  limit(): number {
    return 64 * 1024 * 1024;
  }

  admits(): boolean {
    return true;
  }

  oversize(): void {
    throw new Error("an answer is too large");
  }

  message(type: number, buffer: Buffer, start: number, end: number): void {
    const body = Buffer.from(buffer.subarray(start + headerBytes, end));
    this.answers.push({ type: String.fromCharCode(type), body });
  }

  piece(): void {
    throw new Error("every message is taken whole here");
  }

  send(...parts: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(parts));
  }

  /** Waits until `done` accepts what has come, then takes it. */
  async until(done: (answers: readonly Answer[]) => boolean): Promise<Answer[]> {
    const deadline = Date.now() + patienceMs;
    while (!done(this.answers)) {
      if (this.closed) throw new Error(`closed after ${this.types()}`);
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => {
          reject(new Error(`no answer; so far ${this.types()}`));
        }, deadline - Date.now());
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.answers.splice(0);
  }

  /** Everything up to and with the nth ReadyForQuery. */
  ready(count = 1): Promise<Answer[]> {
    return this.until((answers) => answers.filter((answer) => answer.type === "Z").length >= count);
  }

  types(): string {
    return this.answers.map((answer) => answer.type).join("");
  }

  async end(): Promise<void> {
    if (this.closed) return;
    // Not `once`: the proxy may be closed already, and reset it.
    const closed = new Promise((resolve) => this.socket.once("close", resolve));
    this.socket.end(message(0x58, Buffer.alloc(0)));
    await closed;
  }
}

export async function rawClient(
  port: number,
  parameters: Readonly<Record<string, string>> = {},
): Promise<RawClient> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true, allowHalfOpen: true });
  await once(socket, "connect");
  const raw = new RawClient(socket);
  raw.send(startupMessage({ user: "agent", database: "postgres", ...parameters }));
  await raw.ready();
  return raw;
}

export function typesOf(answers: readonly Answer[]): string {
  return answers.map((answer) => answer.type).join("");
}

/** SQLSTATE of each error, in order. */
export function errorsOf(answers: readonly Answer[]): (string | undefined)[] {
  return answers.filter((answer) => answer.type === "E").map((answer) => field(answer, "C"));
}

export function field(answer: Answer, code: string): string | undefined {
  const whole = Buffer.concat([Buffer.alloc(headerBytes), answer.body]);
  return readFields(whole, 0, whole.length).get(code);
}

export function statusOf(answers: readonly Answer[]): string {
  return answers
    .filter((answer) => answer.type === "Z")
    .map((answer) => answer.body.toString("latin1"))
    .join("");
}

export function tagsOf(answers: readonly Answer[]): string[] {
  return answers
    .filter((answer) => answer.type === "C")
    .map((answer) => readString(answer.body, 0, answer.body.length));
}

/** Cells of every DataRow as text. */
export function rowsOf(answers: readonly Answer[]): (string | null)[][] {
  return answers.filter((answer) => answer.type === "D").map((answer) => cellsOf(answer.body));
}

function cellsOf(body: Buffer): (string | null)[] {
  const cells: (string | null)[] = [];
  let at = 2;
  while (at < body.length) {
    const length = body.readInt32BE(at);
    at += 4;
    cells.push(length < 0 ? null : body.toString("utf8", at, at + length));
    at += Math.max(0, length);
  }
  return cells;
}
