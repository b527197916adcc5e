// Lets detectors look at what an operation says before it is decided: the text, its values and the parameters of this very execution.
import { setImmediate } from "node:timers/promises";
import type { SqlDetector } from "../../policy/mask/detect.ts";
import { lookInto, type Findings, type Spoken } from "../../policy/sql/findings.ts";
import type { LiteralsOf } from "../../policy/sql/literals.ts";
import type { Execution } from "./execution.ts";
import { parameterTexts } from "./parameter-texts.ts";

/** Characters that are looked at before other sessions have their turn: some milliseconds of the slowest detectors. */
const charactersAtOnce = 256 * 1024;

/** Synchronous where it says little. */
export function findingsOf(
  execution: Pick<Execution, "understood" | "portal" | "runBy">,
  literalsOf: LiteralsOf,
  detectors: readonly SqlDetector[],
): Findings | Promise<Findings> {
  const steps = lookInto(spokenBy(execution, literalsOf), detectors);
  const findings = untilTired(steps);
  return findings ?? later(steps);
}

async function later(steps: Generator<number, Findings>): Promise<Findings> {
  for (;;) {
    await setImmediate();
    const findings = untilTired(steps);
    if (findings !== undefined) return findings;
  }
}

function untilTired(steps: Generator<number, Findings>): Findings | undefined {
  for (let looked = 0; looked <= charactersAtOnce;) {
    const { done, value } = steps.next();
    if (done === true) return value;
    looked += value;
  }
  return undefined;
}

function spokenBy(
  { understood, portal, runBy }: Pick<Execution, "understood" | "portal" | "runBy">,
  literalsOf: LiteralsOf,
): Spoken {
  const parts: Spoken[] = [literalsOf(understood.text)];
  if (runBy !== undefined) parts.push(literalsOf(runBy));
  if (portal !== undefined)
    parts.push(parameterTexts(portal.parameters, portal.statement.parameterTypes));
  const unread = parts.flatMap((part) => part.unread ?? []);
  return {
    texts: parts.flatMap(({ texts }) => texts),
    unread: unread.length === 0 ? undefined : unread.join(", "),
  };
}
