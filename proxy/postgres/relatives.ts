// What a statement touches besides the relations it names (partitions, parents, tables under views), looked up where a Deny or RequireApproval may be
// about it, before it is decided.
import type { SqlOperation } from "../../policy/operation.ts";
import type { LiveGrant } from "../pipeline.ts";
import { loadCatalog } from "./catalog-load.ts";
import type { Exchange } from "./exchange.ts";
import type { Execution } from "./execution.ts";

/**
 * States on the execution what it touches under the rules of this grant.
 *
 * @param late the catalog cannot be read just now
 * @returns `load` where it has to be read first; a sentence where it cannot be told
 */
export function relate(
  { options: { masks } }: Exchange,
  grant: LiveGrant,
  execution: Execution,
  late: boolean,
): "load" | { readonly refused: string } | undefined {
  const { understood, operation } = execution;
  if (!understood.namesTables && !understood.fetches) return undefined;
  const relatives = masks.relatives(grant, late);
  if (relatives === undefined || relatives === "load") return relatives;
  const changes = understood.changesSchema && operation.facts.count > 1;
  const { accesses, unknown, refused } = relatives.of(operation.accesses, changes);
  // Another session may have created what is named here: look once more.
  if (unknown !== undefined && masks.relativesMayBeOld()) {
    masks.stale();
    return "load";
  }
  execution.touches(accesses);
  return refused === undefined ? undefined : { refused };
}

/** The same where there is time to read the catalog. Returns why it cannot be told. */
export async function relateNow(
  exchange: Exchange,
  grant: LiveGrant,
  execution: Execution,
  begun: boolean,
): Promise<string | undefined> {
  const late = exchange.halfSent(begun);
  let found = relate(exchange, grant, execution, late);
  if (found === "load") {
    await loadCatalog(exchange, begun);
    found = relate(exchange, grant, execution, late);
  }
  return found === "load"
    ? "what its relations are is changing; send the statement again"
    : found?.refused;
}

/** What was decided under other rules, as it is to be asked of those of now. */
export function related(
  { options: { masks } }: Exchange,
  grant: LiveGrant,
  operation: SqlOperation,
): SqlOperation {
  const relatives = masks.relatives(grant, true);
  if (relatives === undefined || relatives === "load") return operation;
  const { accesses } = relatives.of(operation.accesses, false);
  return accesses === operation.accesses ? operation : { ...operation, accesses };
}
