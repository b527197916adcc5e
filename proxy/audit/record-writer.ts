// Writes records as the lines that stand in the segments and travel to the operator: bounds the body, hashes and chains it. Pure: no files, no clock.
import { canonicalJson, CanonicalWriter, NotCanonical, sha256 } from "../../contract/canonical.ts";
import { type ChainPosition } from "../../contract/chain.ts";
import type { EventBody, EventHeader, EventType } from "../../contract/event.ts";
import { ProxyError } from "../errors.ts";
import {
  boundContents,
  type RecordInput,
  type SpoolRecord,
  type StoredContent,
  withContentRefs,
} from "./record.ts";

/** Canonical JSON of one body. Facts that do not fit are left out by name; what still does not fit is refused. */
export const maxBodyBytes = 128 * 1024;

export interface WrittenRecord extends SpoolRecord {
  /** One JSON line with its newline: the event, and its contents where it has some. Its bytes are those of the next record once that is written. */
  readonly line: Buffer;
}

export class RecordWriter {
  readonly #out = new CanonicalWriter();
  #stream = "";
  #streamText = '""';

  /** Makes the record that follows `after`. Throws ProxyError TooLarge. */
  make(after: ChainPosition, input: RecordInput): WrittenRecord {
    if (input.contents.length === 0) return this.#seal(after, input, input.body, []);
    const contents = boundContents(input.contents);
    return this.#seal(after, input, withContentRefs(input.body, contents), contents);
  }

  /** Gives a record another place in another stream: same number, new links. */
  rechain(after: ChainPosition, { event, contents }: SpoolRecord): WrittenRecord {
    return this.#seal(after, event.header, event.body, contents);
  }

  /** The body first, because the header names its hash; then the line, into which it is copied. */
  #seal(
    after: ChainPosition,
    { type, time }: { readonly type: EventType; readonly time: string },
    given: EventBody,
    contents: readonly StoredContent[],
  ): WrittenRecord {
    const out = this.#out;
    out.reset();
    const body = this.#boundedBody(given);
    const bodyEnd = out.length;
    const header: EventHeader = {
      stream: after.stream,
      seq: after.seq + 1,
      time,
      type,
      prev: after.hash,
      bodyHash: out.hash(0),
    };
    // JCS of the header. Hashes, times and types are our own or were checked where they were read: nothing in them needs an escape.
    const headerJson = `{"bodyHash":"${header.bodyHash}","prev":"${header.prev}","seq":${header.seq},"stream":${this.#quotedStream(header.stream)},"time":"${time}","type":"${type}"}`;
    const hash = sha256(headerJson);
    out.raw(`{"header":${headerJson},"hash":"${hash}","body":`);
    out.again(0, bodyEnd);
    if (contents.length > 0) out.raw(`,"contents":${JSON.stringify(contents)}`);
    out.ascii("}\n");
    return { event: { header, hash, body }, contents, line: out.view(bodyEnd) };
  }

  /** Writes the body as it will be hashed: strings well-formed, within its bound. */
  #boundedBody(given: EventBody): EventBody {
    const body = this.#wellFormed(given);
    const bytes = this.#out.length;
    if (bytes <= maxBodyBytes) return body;
    const less = withoutFacts(body, bytes);
    this.#out.reset();
    this.#out.value(less);
    if (this.#out.length > maxBodyBytes)
      throw new ProxyError(
        "TooLarge",
        `The audit record of this operation is ${bytes} bytes; at most ${maxBodyBytes} can be recorded. Send a smaller operation.`,
      );
    return less;
  }

  #quotedStream(stream: string): string {
    if (stream !== this.#stream) {
      this.#stream = stream;
      this.#streamText = canonicalJson(stream);
    }
    return this.#streamText;
  }

  #wellFormed(given: EventBody): EventBody {
    try {
      this.#out.value(given);
      return given;
    } catch (error) {
      if (!(error instanceof NotCanonical)) throw error;
      this.#out.reset();
      const body = mended(given);
      this.#out.value(body);
      return body;
    }
  }
}

function withoutFacts(body: EventBody, bytes: number): EventBody {
  if (body.operation === undefined) return body;
  const omitted = `${bytes} bytes, more than ${maxBodyBytes}`;
  return { ...body, operation: { ...body.operation, facts: { omitted } } };
}

/**
 * An agent can put half a surrogate pair into a statement; refusing to record it would refuse to record the attempt.
 * JSON round trip first: it drops what JSON cannot carry and gives a plain copy.
 */
function mended(body: EventBody): EventBody {
  const escapes = /\\\\|\\u[dD][89a-fA-F][0-9a-fA-F]{2}/g;
  return JSON.parse(
    JSON.stringify(body).replaceAll(escapes, (found) => (found === "\\\\" ? found : "\\ufffd")),
  ) as EventBody;
}
