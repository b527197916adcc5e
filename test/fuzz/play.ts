// Plays one case on one connection, in pieces, and returns what came back, without what must differ between two runs.
import {
  readFields,
  readParameterStatus,
  readRowDescription,
} from "../../proxy/postgres/decode.ts";
import { headerBytes } from "../../proxy/postgres/framer.ts";
import { rowsOf } from "../integration/postgres-proxy-raw.ts";
import type { Answer, RawClient } from "../integration/postgres-proxy-raw.ts";
import { burstsOf, encode, isFramed } from "./steps.ts";
import type { Burst, FuzzCase, Step } from "./steps.ts";

export interface Player {
  readonly raw: RawClient;
  /** Sends a CancelRequest once the session's statement sleeps; resolves false when it does not sleep. */
  readonly cancelSleep: () => Promise<boolean>;
  /** Numbers of relations and types from here on were given in the case, and differ. */
  readonly firstOwnOid: number;
}

export interface Said {
  readonly kind: string;
  /** Normalised; two runs say the same when these are equal. */
  readonly text: string;
  /** Of an error that the proxy itself said. */
  readonly refusal?: string;
  readonly fatal?: boolean;
}

export interface Played {
  readonly said: readonly Said[];
  readonly closed: boolean;
  /** It ended inside a message: nothing more could be said. */
  readonly inMessage: boolean;
}

/** Bytes sent one by one; behind them nothing new comes to light. */
const maxSingleBytes = 2_000;
/** How long a cancelled statement is looked for, again and again. */
const pollMs = 5;

export async function play(
  { steps, cuts }: FuzzCase,
  player: Player,
  inPieces: boolean,
): Promise<Played> {
  const { raw } = player;
  const bursts = burstsOf(steps);
  const answers: Answer[] = [];
  const pieces = new Pieces(inPieces ? cuts : [], totalLength(bursts));
  for (const [index, burst] of bursts.entries()) {
    if (raw.closed) break;
    const mark = burst.ends === "end" ? "the end" : `mark ${index}`;
    const bytes = Buffer.concat([burst.bytes, closing(mark)]);
    await pieces.write(raw, bytes);
    // Bytes that end inside a message would be waited for for ever; and so would the mark where a message that says it is longer has swallowed its Sync.
    if (!isFramed(bytes, burst.bytes.length)) raw.socket.end();
    const arrived = raw.until((all) => raw.closed || isMarked(all, mark));
    if (burst.ends === "cancel") await cancelUntil(player, arrived);
    answers.push(...(await arrived));
  }
  const { closed, inMessage } = raw;
  if (raw.socket.writable) await raw.end();
  else raw.socket.destroy();
  return { said: answers.map((answer) => said(answer, player.firstOwnOid)), closed, inMessage };
}

/** Ends whatever state the session is in, and asks what it must be able to answer. */
function closing(mark: string): Buffer {
  const steps: Step[] = [{ op: "copyFail", data: "over" }, { op: "sync" }];
  if (mark === "the end") steps.push({ op: "query", sql: "ROLLBACK" });
  // In a failed transaction nothing is answered: the error carries the mark.
  steps.push({ op: "query", sql: `SELECT '${mark}' AS "${mark}"` });
  steps.push({ op: "query", sql: `"${mark}" is no statement` });
  return Buffer.concat(steps.map(encode));
}

/** The last of `closing` is a syntax error: it comes in any transaction state, and behind everything else. */
function isMarked(answers: readonly Answer[], mark: string): boolean {
  const [last, before] = [answers.at(-1), answers.at(-2)];
  if (last?.type !== "Z" || before?.type !== "E") return false;
  if (!before.body.includes(`C42601\0`) || !before.body.includes(`"${mark}"`)) return false;
  return mark !== "the end" || rowsOf(answers.slice(-6)).some(([cell]) => cell === mark);
}

async function cancelUntil(player: Player, arrived: Promise<unknown>): Promise<void> {
  let over = false;
  const stop = (): void => {
    over = true;
  };
  arrived.then(stop, stop);
  while (!over) {
    await player.cancelSleep();
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

function totalLength(bursts: readonly Burst[]): number {
  return bursts.reduce((sum, { bytes, ends }) => sum + bytes.length + closing(ends).length, 0);
}

/** Splits a stream that is sent in several bursts at positions of the whole. */
class Pieces {
  readonly #cuts: FuzzCase["cuts"];
  #at = 0;

  constructor(cuts: FuzzCase["cuts"], total: number) {
    this.#cuts = cuts === "every" ? cuts : cuts.map((cut) => cut % total).toSorted((a, b) => a - b);
  }

  async write(raw: RawClient, bytes: Buffer): Promise<void> {
    let from = 0;
    for (const cut of this.#within(bytes.length)) {
      if (cut <= from) continue;
      if (raw.socket.writable) raw.socket.write(bytes.subarray(from, cut));
      from = cut;
      // The pieces arrive as pieces.
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (raw.socket.writable) raw.socket.write(bytes.subarray(from));
    this.#at += bytes.length;
  }

  #within(length: number): readonly number[] {
    if (this.#cuts === "every")
      return Array.from({ length: Math.min(length, maxSingleBytes) }, (_, at) => at);
    return this.#cuts.map((cut) => cut - this.#at).filter((cut) => cut > 0 && cut < length);
  }
}

/** Said of names in other words than the server's, on purpose; and failed transactions say so only where they got that far. */
const aboutNames: ReadonlySet<string> = new Set(["26000", "34000"]);
/** The server names the bytes; the proxy does not repeat them. */
const notUtf8 = "22021";

/** What SQL declared is not run through the protocol; only where the server knows no such name either, both say the same. */
const madeBySql = /cursors of SQL are read by FETCH|runs an EXECUTE of SQL/;

function said(answer: Answer, firstOwnOid: number): Said {
  const whole = Buffer.concat([Buffer.alloc(headerBytes), answer.body]);
  const { type: kind } = answer;
  switch (kind) {
    case "E":
    case "N":
      return complaint(kind, readFields(whole, 0, whole.length));
    case "S": {
      const { name, value } = readParameterStatus(whole, 0, whole.length);
      return { kind, text: `S ${name}=${value}` };
    }
    case "A":
      return { kind, text: `A ${answer.body.toString("utf8", 4)}` };
    case "T": {
      const own = (oid: number): number => (oid >= firstOwnOid ? 1 : oid);
      const fields = readRowDescription(whole, 0, whole.length).map(
        ({ name, table, attribute, type, format }) =>
          [name, own(table), attribute, own(type), format].join("/"),
      );
      return { kind, text: `T ${fields.join(", ")}` };
    }
    default:
      return { kind, text: `${kind} ${shown(answer.body)}` };
  }
}

function complaint(kind: string, fields: ReadonlyMap<string, string>): Said {
  const code = fields.get("C") ?? "";
  const hinted = /^chaperone: (\w+)$/.exec(fields.get("H") ?? "")?.[1];
  const refusal = hinted ?? (madeBySql.test(fields.get("M") ?? "") ? "NotSupported" : undefined);
  const fatal = fields.get("V") !== "ERROR" && kind === "E";
  // A portal that was closed by the very statement that it runs.
  const isGone = /^portal "\w*" cannot be run$/.test(fields.get("M") ?? "");
  const isAboutName = aboutNames.has(code) || isGone;
  // The proxy answers what is no SQL with PostgreSQL's code, words and position, and without the place in its source.
  if (code === notUtf8) return { kind, text: `${kind} ${fields.get("V")} ${code}`, fatal };
  const words = [fields.get("M"), fields.get("P"), fields.get("D"), fields.get("W")];
  const text = isAboutName
    ? `${kind} ${fields.get("V")} of a name`
    : `${kind} ${fields.get("V")} ${code} ${words.join("|")}`;
  return { kind, text, fatal, ...(refusal === undefined ? {} : { refusal }) };
}

function shown(body: Buffer): string {
  const text = body.toString("latin1");
  return text.length > 200
    ? `${text.slice(0, 200)}… ${body.length} ${body.toString("base64")}`
    : text;
}
