// What was decided before something took its time (a person, a durable intent, the operator) is looked at again before it goes: rules, settings, masks and limits are those of now.
import { ProxyError } from "../errors.ts";
import type { LiveGrant } from "../pipeline.ts";
import { loadCatalog } from "./catalog-load.ts";
import { CopyDigest } from "./copy-digest.ts";
import type { Exchange } from "./exchange.ts";
import type { Execution } from "./execution.ts";
import type { Masking } from "./masking.ts";
import { asProxyError } from "./refusal.ts";
import { relateNow } from "./relatives.ts";
import { voidedByReplication } from "./replication.ts";
import { RowRecorder } from "./row-recorder.ts";
import { followRules } from "./session-follow.ts";

/** What an execution is held to while it runs. */
export function runUnder(
  execution: Execution,
  { bundle }: LiveGrant,
  masking: Masking | undefined,
): void {
  execution.generation = bundle.generation;
  execution.limits = bundle.limits;
  execution.masking = masking;
  if (bundle.recording.detail !== "Full") return;
  execution.recorder ??= new RowRecorder();
  if (execution.understood.copies) execution.copied ??= new CopyDigest();
}

/** Whether rules, marks or masks are others by now than it was decided under; then they are for all that was decided since. */
export function isOutdated(
  exchange: Exchange,
  execution: Execution | undefined,
  begun: boolean,
): boolean {
  const { gate, session, masks } = exchange.options;
  const bundle = gate.current()?.bundle;
  if (execution?.passage === undefined) return false;
  if (bundle === undefined || execution.generation !== bundle.generation) return true;
  if (execution.passage.marks !== session.marks) return true;
  return (
    !execution.understood.onlyTransaction &&
    masks.for(bundle, exchange.halfSent(begun)) !== execution.masking
  );
}

/**
 * @param begun part of its batch is forwarded without its Sync
 * @returns what is said against it by now; undefined: it may go, and is held to what is in force now
 */
export async function refusedSince(
  exchange: Exchange,
  execution: Execution,
  begun: boolean,
): Promise<ProxyError | undefined> {
  const { passage, operation } = execution;
  if (passage === undefined) return undefined;
  const { gate, session } = exchange.options;
  const grant = gate.current();
  const isOld = execution.generation !== grant?.bundle.generation;
  try {
    const unknown = grant && (await relateNow(exchange, grant, execution, begun));
    if (unknown !== undefined)
      return new ProxyError("Denied", `connection ${exchange.connection}: ${unknown}`);
    const isOther = isOld || execution.operation !== operation;
    if (grant === undefined || isOther || passage.marks !== session.marks) {
      const refused = session.refusalNow(execution.operation, passage.decision);
      if (refused !== undefined) return refused;
    }
    if (grant === undefined) return undefined;
    return (
      (await undoneSince(exchange, execution, grant, isOld, begun)) ??
      (await unmaskableSince(exchange, execution, grant, isOld, begun))
    );
  } catch (error) {
    return asProxyError(error, exchange.connection);
  }
}

/** The database itself must follow the rules in force now. */
async function undoneSince(
  exchange: Exchange,
  { understood }: Execution,
  { prepared }: LiveGrant,
  isOld: boolean,
  begun: boolean,
): Promise<ProxyError | undefined> {
  const { settings, connection } = exchange;
  const isBehind = settings.behind(prepared);
  if (isBehind) await followRules(exchange, prepared, begun);
  const undoes = isBehind || isOld ? settings.refuses(prepared, understood) : undefined;
  return undoes === undefined
    ? undefined
    : new ProxyError("Denied", `connection ${connection}: ${undoes}`);
}

async function unmaskableSince(
  exchange: Exchange,
  execution: Execution,
  grant: LiveGrant,
  isOld: boolean,
  begun: boolean,
): Promise<ProxyError | undefined> {
  const { masks, replication } = exchange.options;
  const { understood, operation } = execution;
  const voided = replication === undefined ? undefined : voidedByReplication(grant.bundle);
  if (voided !== undefined) return new ProxyError("MaskNotProvable", voided);
  const halfSent = exchange.halfSent(begun);
  const masksNow = (): Masking | "load" | undefined =>
    understood.onlyTransaction ? undefined : masks.for(grant.bundle, halfSent);
  let masking = masksNow();
  const mayShowAnother =
    masking !== "load" && masking?.readsViews(understood) === true && masks.mayBeOld();
  if (!isOld && masking === execution.masking && !mayShowAnother) return undefined;
  if (mayShowAnother) masks.stale();
  if (mayShowAnother || masking === "load") {
    await loadCatalog(exchange, begun);
    masking = masksNow();
  }
  const unproven =
    masking === "load"
      ? `connection ${exchange.connection} has masks, and the columns of its database are changing; send the statement again`
      : masking?.prove(understood, operation);
  if (unproven !== undefined || masking === "load")
    return new ProxyError("MaskNotProvable", unproven ?? "");
  runUnder(execution, grant, masking);
  return undefined;
}
