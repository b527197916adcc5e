// What can be said of a batch without the store: its form, whose it is, its own links, its bodies and texts. Pure.
import { canonicalJson, NotCanonical, sha256 } from "../../contract/canonical.ts";
import {
  type ChainPosition,
  IngestRefused,
  type IngestRefusal,
  maxBatchEvents,
  shadowsHeader,
  verifyChain,
} from "../../contract/chain.ts";
import type { EventBatch } from "../../contract/control.ts";
import type { UnreadDelivery } from "../../contract/delivery.ts";
import type {
  ContentRecord,
  EventBody,
  EventHeader,
  EventSubject,
  StoredEvent,
} from "../../contract/event.ts";
import { canonicalParsed } from "./canonical.ts";
import { type ReadRecord, readLine } from "./lines.ts";

/** A delivery, and who sent it: what its events say of a subject must be said of this one. */
export interface OwnDelivery extends UnreadDelivery {
  readonly subject?: EventSubject;
}

export interface CheckedEvent extends StoredEvent {
  /** What was hashed; the body is stored as it stands here. */
  readonly canonical: { readonly header: string; readonly body: string };
}

/** Complete events that link to each other, with the texts they refer to. */
export interface CheckedBatch {
  readonly stream: string;
  readonly head: string;
  readonly events: readonly CheckedEvent[];
  readonly contents: readonly ContentRecord[];
}

/** An event names another subject than the pod that sends it. */
export class SubjectNotOwn extends Error {
  override readonly name = "SubjectNotOwn";
}

/** Throws IngestRefused. The number it names as expected is the store's to know; here it is 1. */
export function checkBatch(batch: EventBatch): CheckedBatch {
  const { stream, head, events, contents } = batch;
  if (!Array.isArray(events) || !Array.isArray(contents))
    throw malformed(stream, "a batch names a stream, events and contents");
  checkFrame(stream, head, events.length);
  const checked = events.map((event) => complete(stream, event, canonicalJson));
  return linked({ stream, head, events: checked, contents });
}

/** The same for records as they came, and the first to look at them. Throws IngestRefused and SubjectNotOwn. */
export function checkDelivery({ stream, head, lines, subject }: OwnDelivery): CheckedBatch {
  const text = Buffer.from(lines.buffer, lines.byteOffset, lines.byteLength).toString().trimEnd();
  const records = text === "" ? [] : text.split("\n");
  checkFrame(stream, head, records.length);
  const contents: ContentRecord[] = [];
  const events = records.map((line) => {
    const record = recordOf(stream, line);
    const event = complete(stream, record, canonicalParsed);
    if (subject !== undefined) checkOwn(event, subject);
    for (const { part, sha256: digest, text: content } of textsOf(stream, event, record.contents))
      contents.push({
        session: event.body.session ?? "",
        seq: event.header.seq,
        part,
        sha256: digest,
        text: content,
      });
    return event;
  });
  return linked({ stream, head, events, contents });
}

function refused(code: IngestRefusal["code"], stream: string, message: string): IngestRefused {
  return new IngestRefused({ code, stream, expected: 1, message });
}

function malformed(stream: string, message: string): IngestRefused {
  return refused("MalformedBatch", stream, message);
}

/** A compact JWS, or nothing where nobody signs. */
const headForm = /^[\w.-]{0,4096}$/;

function checkFrame(stream: string, head: string, events: number): void {
  if (typeof stream !== "string" || stream === "")
    throw malformed(stream, "a batch names its stream");
  if (events > maxBatchEvents)
    throw malformed(stream, `a batch carries at most ${maxBatchEvents} events, this one ${events}`);
  if (typeof head !== "string" || !headForm.test(head))
    throw malformed(stream, "the head of a batch is a compact JWS");
}

function recordOf(stream: string, line: string): ReadRecord {
  try {
    return readLine(line);
  } catch (error) {
    if (error instanceof SyntaxError) throw malformed(stream, "a line of the batch is no JSON");
    throw error;
  }
}

/** The event, once it is known to have all its parts. */
function complete(
  stream: string,
  { header: given, hash, body, spooled }: Omit<ReadRecord, "contents">,
  canonicalBody: (body: EventBody) => string,
): CheckedEvent {
  const header = spooled?.header ?? (isHeader(given) ? given : undefined);
  if (header === undefined || !isHash(hash) || !isBody(body))
    throw malformed(stream, `event ${numberIn(given)} of ${stream} is not a complete event`);
  try {
    const canonical = {
      header: spooled?.json ?? canonicalJson(header),
      body: canonicalBody(body),
    };
    return { header, hash, body, canonical };
  } catch (error) {
    if (!(error instanceof NotCanonical)) throw error;
    // What has no canonical form cannot have been hashed.
    throw refused(
      "AlteredEvent",
      stream,
      `the body of event ${header.seq} is not the one that was recorded`,
    );
  }
}

const hashForm = /^sha256-[\w-]{43}$/;

function isHash(hash: unknown): hash is string {
  return typeof hash === "string" && hashForm.test(hash);
}

/** An object that hides no member of the header; what its members hold is the writer's word. */
function isBody(body: unknown): body is EventBody {
  return typeof body === "object" && body !== null && !Array.isArray(body) && !shadowsHeader(body);
}

const headerForm: Readonly<Record<Exclude<keyof EventHeader, "seq">, RegExp>> = {
  stream: /^[\x21-\x7e]{1,512}$/,
  time: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
  type: /^[a-z][a-z-]{0,31}$/,
  prev: hashForm,
  bodyHash: hashForm,
};
const headerMembers = Object.keys(headerForm).length + 1;

function isHeader(header: unknown): header is EventHeader {
  if (typeof header !== "object" || header === null) return false;
  const members: Readonly<Record<string, unknown>> = { ...header };
  const { seq } = members;
  return (
    Object.keys(members).length === headerMembers &&
    Number.isSafeInteger(seq) &&
    Number(seq) >= 1 &&
    Object.entries(headerForm).every(([key, form]) => {
      const value = members[key];
      return typeof value === "string" && form.test(value);
    })
  );
}

function numberIn(header: unknown): string {
  return typeof header === "object" && header !== null && "seq" in header
    ? String(header.seq)
    : "without a number";
}

/** A pod writes about itself, or about nobody. */
function checkOwn({ header, body }: CheckedEvent, subject: EventSubject): void {
  const named: unknown = body.subject;
  if (named === undefined) return;
  const said: Partial<Record<keyof EventSubject, unknown>> =
    typeof named === "object" && named !== null ? named : {};
  const isOwn =
    said.podUid === subject.podUid &&
    said.namespace === subject.namespace &&
    said.serviceAccount === subject.serviceAccount &&
    said.pod === subject.pod;
  if (!isOwn)
    throw new SubjectNotOwn(`event ${header.seq} names another subject than the pod that sends it`);
}

/** Request, answer, rows and parameters, with room for more kinds. */
const maxContentsPerEvent = 16;

type GivenText = Pick<ContentRecord, "part" | "sha256" | "text">;

function textsOf(stream: string, { header }: StoredEvent, contents: unknown): readonly GivenText[] {
  if (contents === undefined) return [];
  if (
    !Array.isArray(contents) ||
    contents.length > maxContentsPerEvent ||
    !contents.every((content) => isText(content))
  )
    throw malformed(
      stream,
      `the contents of event ${header.seq} are no list of at most ${maxContentsPerEvent} texts`,
    );
  return contents;
}

function isText(content: unknown): content is GivenText {
  const { part, sha256: digest, text } = Object(content) as Partial<Record<string, unknown>>;
  return typeof part === "string" && typeof digest === "string" && typeof text === "string";
}

/** The batch, once its events are known to link and its texts to be the ones they refer to. */
function linked(batch: CheckedBatch): CheckedBatch {
  const { stream, events } = batch;
  const [first] = events;
  if (first === undefined) return batch;
  const before: ChainPosition = { stream, seq: first.header.seq - 1, hash: first.header.prev };
  const { fault } = verifyChain(events, before);
  if (fault !== undefined) throw refused("AlteredEvent", stream, fault.message);
  const problem = contentProblem(batch);
  if (problem !== undefined) throw refused("AlteredContent", stream, problem);
  return batch;
}

const contentParts: ReadonlySet<string> = new Set(["request", "response", "rows", "params"]);

/** Every text an event refers to is there, every text is referred to, and each is what its digest says. */
function contentProblem({ events, contents }: CheckedBatch): string | undefined {
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
