// `audit verify`: proves sequence and chain of every recorded stream, or names the place where they break.
import type { StreamVerdict } from "../../operator/audit/verify.ts";
import type { Backend } from "../backend.ts";
import { AnswerNo } from "../exit.ts";
import { json, table } from "../output.ts";

export async function verify(backend: Backend, options: { output: string }): Promise<void> {
  try {
    const verdicts = await backend.verify();
    const broken = verdicts.filter((verdict) => verdict.fault !== undefined);
    if (options.output === "json") process.stdout.write(json(verdicts));
    else {
      if (verdicts.length > 0)
        process.stdout.write(
          table(
            ["STREAM", "EVENTS", "RESULT"],
            verdicts.map((verdict) => [verdict.stream, String(verdict.events), result(verdict)]),
          ),
        );
      process.stdout.write(conclusion(verdicts, broken.length));
    }
    if (broken.length > 0) throw new AnswerNo();
  } finally {
    await backend.close();
  }
}

function result({ fault, gaps }: StreamVerdict): string {
  if (fault !== undefined) return `${fault.kind} at event ${fault.seq}`;
  return gaps === 0 ? "chain holds" : `chain holds, states ${losses(gaps)}`;
}

/** A loss that a stream states breaks nothing, and is none the less said: nobody may read "nothing missing" then. */
function conclusion(verdicts: readonly StreamVerdict[], broken: number): string {
  if (broken > 0) return `NOT verified: ${broken} of ${verdicts.length} streams are broken\n`;
  const events = verdicts.reduce((sum, verdict) => sum + verdict.events, 0);
  const gaps = verdicts.reduce((sum, verdict) => sum + verdict.gaps, 0);
  const missing =
    gaps === 0
      ? "nothing missing"
      : `the streams themselves state ${losses(gaps)} (see: chaperone events --type gap)`;
  return `verified: ${events} events in ${verdicts.length} streams, nothing altered, ${missing}\n`;
}

function losses(count: number): string {
  return count === 1 ? "1 loss" : `${count} losses`;
}
