// Marks where HTTP has to think of them: what detectors find puts them before it goes out, and a request that is still on its way is decided
// again when one comes, since the agent may have begun to send before it read.
import type { DetectMask } from "../../policy/bundle.ts";
import { marksByDetector, type FoundMark } from "../../policy/marks.ts";
import type { Counts } from "../../policy/mask/stream.ts";
import type { Operation } from "../../policy/operation.ts";
import { ProxyError } from "../errors.ts";
import type { GateSession, LiveGrant } from "../pipeline.ts";
import { BodyStream } from "./body.ts";
import type { Exchange, Granted } from "./exchange.ts";

type ByDetector = ReadonlyMap<string, readonly FoundMark[]>;

const known = new WeakMap<readonly DetectMask[], ByDetector | "none">();

function byDetector(masks: readonly DetectMask[]): ByDetector | undefined {
  let found = known.get(masks);
  if (found === undefined) known.set(masks, (found = marksByDetector(masks) ?? "none"));
  return found === "none" ? undefined : found;
}

/** Looks at what was counted, and puts what a detector's first finding puts. Throws ProxyError: then nothing more may go out. */
export type SeeFindings = (counts: Counts) => void;

/** Undefined where no finding puts anything. */
export function findings(
  masks: readonly DetectMask[],
  session: Pick<GateSession, "mark">,
  operation: Operation,
): SeeFindings | undefined {
  const marks = byDetector(masks);
  if (marks === undefined) return undefined;
  const seen = new Set<string>();
  return (counts) => {
    for (const [detector, found] of marks) {
      if ((counts[detector] ?? 0) === 0 || seen.has(detector)) continue;
      session.mark(found, operation);
      seen.add(detector);
    }
  };
}

/** Whether a mark that comes can change what was decided, or how it was masked; without, there is no need to `depart`. */
export function hangsOnMarks(
  { prepared }: LiveGrant,
  requestMasks: readonly DetectMask[],
): boolean {
  return prepared.markReaders.length > 0 || requestMasks.some(isConditional);
}

function isConditional({ when }: DetectMask): boolean {
  return when !== undefined;
}

/** A request that passed and is about to be sent. */
export interface Departure {
  readonly exchange: Exchange;
  readonly session: GateSession;
  readonly operation: Operation;
  readonly passage: Granted;
  /** The request masks of the rules that it was read under, and those of them that its body was or is being masked by. */
  readonly requestMasks: readonly DetectMask[];
  readonly masks: readonly DetectMask[];
}

/** What stands against it now, if a mark came since it was decided. */
function refusal(departure: Departure): ProxyError | undefined {
  const { session, operation, passage, requestMasks, masks } = departure;
  const refused = session.refusalNow(operation, passage.decision);
  if (refused !== undefined) return refused;
  return session.masksNow(requestMasks) === masks
    ? undefined
    : new ProxyError(
        "MaskNotProvable",
        "this pod read something marked while the request was being sent, and it would have to be masked now; send it again",
      );
}

/** One list for all connections without any: lists are told apart by what they are. */
export const noMasks: readonly DetectMask[] = [];

/**
 * Throws ProxyError where the request may not be sent any more; while its body still comes from the agent, each new mark asks again, and may end it.
 */
export function depart(departure: Departure, body: unknown): void {
  const { session, passage, exchange, requestMasks } = departure;
  // Its body was masked by what held when it began to come; the decision is as old as its own marks.
  const isOld =
    session.marks !== passage.marks || session.masksNow(requestMasks) !== departure.masks;
  const refused = isOld ? refusal(departure) : undefined;
  if (refused !== undefined) throw refused;
  if (!(body instanceof BodyStream)) return;
  const unwatch = session.onMark(() => {
    const late = refusal(departure);
    if (late !== undefined) exchange.end(late);
  });
  body.once("close", unwatch);
}
