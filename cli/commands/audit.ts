// `audit verify`: proves sequence and chain of every recorded stream, or names the place where they break.
import type { Backend } from "../backend.ts";
import { AnswerNo } from "../exit.ts";
import { json, table } from "../output.ts";

export async function verify(backend: Backend, options: { output: string }): Promise<void> {
  try {
    const verdicts = await backend.verify();
    const broken = verdicts.filter((verdict) => verdict.fault !== undefined);
    if (options.output === "json") process.stdout.write(json(verdicts));
    else {
      if (verdicts.length > 0) {
        process.stdout.write(
          table(
            ["STREAM", "EVENTS", "RESULT"],
            verdicts.map((verdict) => [
              verdict.stream,
              String(verdict.events),
              verdict.fault === undefined
                ? "chain holds"
                : `${verdict.fault.kind} at event ${verdict.fault.seq}`,
            ]),
          ),
        );
      }
      const events = verdicts.reduce((sum, verdict) => sum + verdict.events, 0);
      process.stdout.write(
        broken.length === 0
          ? `verified: ${events} events in ${verdicts.length} streams, nothing missing, nothing altered\n`
          : `NOT verified: ${broken.length} of ${verdicts.length} streams are broken\n`,
      );
    }
    if (broken.length > 0) throw new AnswerNo();
  } finally {
    await backend.close();
  }
}
