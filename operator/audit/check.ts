// What can be said of a batch without the store: its form, its own links, its bodies and texts. Pure.
import { sha256, stable } from "../../contract/canonical.ts";
import {
  type ChainPosition,
  IngestRefused,
  type IngestRefusal,
  maxBatchEvents,
  shadowsHeader,
  verifyChain,
} from "../../contract/chain.ts";
import type { EventBatch } from "../../contract/control.ts";
import type { EventHeader, StoredEvent } from "../../contract/event.ts";

/** Throws IngestRefused. The number it names as expected is the store's to know; here it is 1. */
export function checkBatch(batch: EventBatch): void {
  const { stream, events } = batch;
  const refuse = (code: IngestRefusal["code"], message: string): never => {
    throw new IngestRefused({ code, stream, expected: 1, message });
  };
  if (
    typeof stream !== "string" ||
    stream === "" ||
    !Array.isArray(events) ||
    !Array.isArray(batch.contents)
  )
    refuse("MalformedBatch", "a batch names a stream, events and contents");
  if (events.length > maxBatchEvents)
    refuse(
      "MalformedBatch",
      `a batch carries at most ${maxBatchEvents} events, this one ${events.length}`,
    );
  if (typeof batch.head !== "string" || !headForm.test(batch.head))
    refuse("MalformedBatch", "the head of a batch is a compact JWS");
  const first = events[0];
  if (first === undefined) return;
  for (const event of events)
    if (!isWellFormed(event))
      refuse(
        "MalformedBatch",
        `event ${String(event?.header?.seq)} of ${stream} is not a complete event`,
      );
  // Its canonical form is hashed here and stored afterwards (write.ts): written once.
  for (const { body } of events) stable(body);
  const before: ChainPosition = { stream, seq: first.header.seq - 1, hash: first.header.prev };
  const { fault } = verifyChain(events, before);
  if (fault !== undefined) refuse("AlteredEvent", fault.message);
  const problem = contentProblem(batch);
  if (problem !== undefined) refuse("AlteredContent", problem);
}

/** A compact JWS, or nothing where nobody signs. */
const headForm = /^[\w.-]{0,4096}$/;

const contentParts: ReadonlySet<string> = new Set(["request", "response", "rows", "params"]);

const headerForm: Readonly<Record<Exclude<keyof EventHeader, "seq">, RegExp>> = {
  stream: /^[\x21-\x7e]{1,512}$/,
  time: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
  type: /^[a-z][a-z-]{0,31}$/,
  prev: /^sha256-[\w-]{43}$/,
  bodyHash: /^sha256-[\w-]{43}$/,
};

function isWellFormed(event: StoredEvent | undefined): boolean {
  if (typeof event !== "object" || event === null) return false;
  const header: Readonly<Record<string, unknown>> = { ...event.header };
  const body: unknown = event.body;
  if (typeof body !== "object" || body === null || Array.isArray(body) || shadowsHeader(body))
    return false;
  const { seq } = header;
  if (!Number.isSafeInteger(seq) || Number(seq) < 1 || !headerForm.prev.test(event.hash))
    return false;
  return Object.entries(headerForm).every(([key, form]) => {
    const value = header[key];
    return typeof value === "string" && form.test(value);
  });
}

/** Every text an event refers to is there, every text is referred to, and each is what its digest says. */
function contentProblem({ events, contents }: EventBatch): string | undefined {
  const bySeq = Map.groupBy(contents, (content) => content.seq);
  for (const { header, body } of events) {
    const given = bySeq.get(header.seq) ?? [];
    bySeq.delete(header.seq);
    const refs = body.operation?.content ?? [];
    const matches =
      refs.length === given.length &&
      refs.every(
        (ref, index) =>
          given[index]?.sha256 === ref.sha256 &&
          given[index]?.part === ref.part &&
          contentParts.has(ref.part),
      );
    if (!matches) return `the contents of event ${header.seq} are not the ones it refers to`;
    if (
      given.some(
        (content) =>
          typeof content.text !== "string" ||
          content.session !== body.session ||
          sha256(content.text) !== content.sha256,
      )
    )
      return `a content of event ${header.seq} is not what its digest says`;
  }
  const stray = bySeq.keys().next();
  return stray.done === true
    ? undefined
    : `contents name event ${stray.value}, which is not in the batch`;
}
