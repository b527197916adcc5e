// What can go wrong between us and the API server, said once: the status it answered, or that it did not answer.
import { fieldAt, textAt } from "./objects.ts";

/** Longer waits than this are not obeyed: a wrong header must not make us blind for an hour. */
export const maxRetryAfterMs = 60_000;

/** A message of the API server lists field errors; more than this is no sentence any more. */
const maxMessageLength = 1_000;

/** An answer of the API server that is not success. `status` 0: there was no answer. */
export class KubeError extends Error {
  readonly status: number;
  /** `NotFound`, `Conflict`, `Expired` … as the API server's Status object names it; empty when it sent none. */
  readonly reason: string;
  readonly retryAfterMs: number | undefined;

  constructor(
    message: string,
    details: {
      readonly status: number;
      readonly reason: string;
      readonly retryAfterMs?: number | undefined;
    },
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = "KubeError";
    this.status = details.status;
    this.reason = details.reason;
    this.retryAfterMs = details.retryAfterMs;
  }

  get isNotFound(): boolean {
    return this.status === 404;
  }

  get isConflict(): boolean {
    return this.status === 409;
  }

  /** 410: what we know is too old to go on from (the history was compacted). */
  get isExpired(): boolean {
    return this.status === 410;
  }

  /** No answer, or one that says to try again: nothing about the request itself was refused. */
  get isTemporary(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** Reads the API server's Status object. Messages about Secrets are left out: they may quote values. */
export function answeredError(
  call: string,
  status: number,
  body: unknown,
  retryAfter: string | undefined,
): KubeError {
  const said = call.includes("/secrets")
    ? undefined
    : textAt(body, "message")?.slice(0, maxMessageLength);
  const reason = textAt(body, "reason") ?? "";
  const what = [String(status), reason, said]
    .filter((part) => part !== undefined && part !== "")
    .join(" ");
  return new KubeError(`API server answered ${call} with ${what}`, {
    status,
    reason,
    retryAfterMs: retryAfterOf(retryAfter, body),
  });
}

/** The object of an ERROR event inside a watch, which came with status 200. */
export function streamedError(call: string, body: unknown): KubeError {
  const code = fieldAt(body, "code");
  return answeredError(call, typeof code === "number" ? code : 500, body, undefined);
}

export function unansweredError(call: string, cause: unknown): KubeError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new KubeError(
    `API server did not answer ${call}: ${why}`,
    { status: 0, reason: "" },
    { cause },
  );
}

function retryAfterOf(header: string | undefined, body: unknown): number | undefined {
  const inBody = fieldAt(body, "details", "retryAfterSeconds");
  const seconds = header === undefined ? inBody : Number(header);
  if (typeof seconds !== "number" || !(seconds > 0)) return undefined;
  return Math.min(seconds * 1000, maxRetryAfterMs);
}
