// How the wire of one LLM provider is plugged in: what differs between providers stands behind this interface, and nowhere else.
//
// A provider says which operation a request is and reads its body (`route`), which strings of its JSON are text (`shape`), how
// its answers are framed and read (`framing`, `readBody`, `readEvent`), how the texts of a stream go on from event to event
// (`maskEvents`), and in which shape its SDKs expect an error (`error`). The rest is shared: recognise.ts, answer.ts, mask-answer.ts.
import type { HttpFacts, LlmProtocol } from "../operation.ts";
import type { Shape } from "../mask/stream-json.ts";
import type { Counts, StreamMasker } from "../mask/stream.ts";
import type { KeptThinking } from "./anthropic/kept-thinking.ts";
import type { Gathering } from "./gathering.ts";
import type { JsonObject } from "./json.ts";
import type { Reading } from "./reading.ts";

export interface LlmProvider {
  readonly protocol: LlmProtocol;
  /** The operation that a request is, or undefined for one that no rule knows. Throws NotUnderstood. */
  route(request: RoutedRequest): Route | undefined;
  /**
   * The body with this limit, where the operation has one and the request names none; undefined where there is none to name.
   *
   * @param path of the request, as rules see it
   */
  limited(
    operation: string,
    body: JsonObject,
    tokens: number,
    path: string,
  ): JsonObject | undefined;
  /** How each string of a request, and of an answer that is no stream, is masked. */
  readonly shape: Shape;
  /** How a body of this media type is framed; undefined for what is read as that of any server. */
  framing(media: string): Framing | undefined;
  /** Masks the events of one streamed answer. @param kept keeps thinking that is signed, where the provider's is */
  maskEvents(masker: StreamMasker, counts: Counts, kept?: KeptThinking): EventMasker;
  /** Its models sign what they think, and take it back only as they wrote it. */
  readonly signsThinking?: true;
  /** Reads a whole answer. Never throws. */
  readBody(gathered: Gathering, body: JsonObject): void;
  /** Reads one event of a streamed answer. Never throws. */
  readEvent(gathered: Gathering, event: JsonObject, name: string | undefined): void;
  error(said: SaidError): ProviderError;
}

export interface RoutedRequest {
  readonly http: HttpFacts;
  /** The path below that of the endpoint, decoded, beginning with a slash. */
  readonly path: string;
}

/** One operation of an API, and how its request is read. */
export interface Route {
  /** A word of rules (`llm.operations`), the same for every provider that has it. */
  readonly operation: string;
  /**
   * json: the strict reading of an `application/json` body · form: the parts of one that is multipart/form-data · none: a request that
   * has a body is refused · any: is not looked into
   */
  readonly body: "json" | "form" | "none" | "any";
  /** @param value of the JSON body, or the parts of the form; undefined where there is none. Throws NotUnderstood. */
  read(reading: Reading, value: unknown): void;
}

/**
 * json: one value · events: server-sent events · lines: JSON lines, each an event · bodies: JSON lines, each an answer of its
 * own · array: a JSON array of events, or one value · frames: AWS event stream
 */
export type Framing = "json" | "events" | "lines" | "bodies" | "array" | "frames";

/** An event to send. */
export interface NamedEvent {
  /** Another than that of the event it stands for. */
  readonly name?: string;
  readonly data: JsonObject;
}

export interface EventMasker {
  /** The events to send in the place of this one; the last of them keeps its name. Throws NotMaskable. */
  event(event: JsonObject, name: string | undefined): readonly NamedEvent[];
  /** The stream ends: what was held back. */
  end(): readonly NamedEvent[];
}

/** What is to be said in a provider's error object. */
export interface SaidError {
  /** Of the request, below a base path or with it; empty where it is not known. */
  readonly path: string;
  /** A code of the registry, `Denied` say. */
  readonly code: string;
  readonly message: string;
  /** Of the registry. */
  readonly status: number;
  /** Sending the request again helps: the way to the upstream failed. */
  readonly isTransient: boolean;
  /** Members of ours that go into the error object: request, policy, rule, reason. */
  readonly more: Readonly<Record<string, string>>;
}

export interface ProviderError {
  readonly status: number;
  /** Beside content-type and length. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: JsonObject;
}

/**
 * The status at which no SDK of a provider sends a request again: they repeat 408, 409, 429 and 5xx by themselves, at once and
 * more than once, which would turn one refusal into several operations and never into an answer.
 */
export function finalStatus({ status, isTransient }: SaidError): number {
  if (isTransient) return status;
  const isSentAgain = status === 408 || status === 409 || status === 429 || status >= 500;
  return isSentAgain || status === 421 ? 403 : status;
}

/** The same for SDKs that know no header that says whether to send again: where it does not help, the status says so. @param instead of a 5xx */
export function statusAlone(said: SaidError, instead: number): number {
  const final = finalStatus(said);
  return final >= 500 && final !== 501 && !said.isTransient ? instead : final;
}
