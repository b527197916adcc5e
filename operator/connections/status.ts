// What a Connection's status says, from what was found out about it: pure.
import { connectionFindings } from "../../crds/conditions.ts";
import type { Connection, ConnectionProbe, ConnectionStatus } from "../../crds/types.gen.ts";
import type { LeaseOutcome } from "../leases/role-leases.ts";
import { mergeConditions, type WantedCondition } from "../kube/conditions.ts";
import type { ProbeResult } from "./probe.ts";

/** A probe that says the same as the one before is written down again only after this: status is not a heartbeat. */
const probeNewsMs = 5 * 60_000;

export interface ConnectionFacts {
  readonly connection: Connection;
  /** Of the same namespace. */
  readonly siblings: readonly Connection[];
  /** What is wrong with its Secrets; undefined when nothing is. */
  readonly credential: { readonly reason: string; readonly message: string } | undefined;
  readonly probe: { readonly result: ProbeResult; readonly at: number };
  readonly activeGrants: number;
  /** Counts only where the credential is a `postgresRole`. */
  readonly roles: LeaseOutcome;
  readonly now: number;
}

type Check = (
  facts: ConnectionFacts,
) => { readonly reason: string; readonly message: string } | undefined;

const checks: readonly Check[] = [
  ({ connection, siblings }) => connectionFindings(connection, siblings)[0], // nobody else claims its address
  ({ credential }) => credential, // its Secrets are there and usable
  ({ probe: { result } }) => (result.reason === "Reachable" ? undefined : result), // and its upstream answers
  ({ connection, roles }) => (makesRoles(connection) ? roles.problem : undefined), // and lets roles be made
];

export function connectionStatus(facts: ConnectionFacts): ConnectionStatus {
  const { connection, activeGrants, now } = facts;
  const { generation } = connection.metadata;
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    activeGrants,
    lastProbe: lastProbe(facts),
    conditions: mergeConditions(
      connection.status?.conditions,
      [ready(facts), ...privilegesGranted(facts)],
      generation,
      now,
    ),
  };
}

function ready(facts: ConnectionFacts): WantedCondition {
  for (const check of checks) {
    const wrong = check(facts);
    if (wrong !== undefined)
      return { type: "Ready", status: "False", reason: wrong.reason, message: wrong.message };
  }
  return { type: "Ready", status: "True", reason: "Ready", message: facts.probe.result.message };
}

function makesRoles({ spec }: Connection): boolean {
  return spec.credential?.postgresRole !== undefined;
}

/** Whether the roles of the grants in force can do what their policies permit, and nothing else. */
function privilegesGranted({ connection, roles: { notes } }: ConnectionFacts): WantedCondition[] {
  if (!makesRoles(connection)) return [];
  const type = "PrivilegesGranted";
  return notes.length === 0
    ? [
        {
          type,
          status: "True",
          reason: "AsPermitted",
          message: "roles hold exactly what policies permit",
        },
      ]
    : [{ type, status: "False", reason: "NotAsPermitted", message: notes.join("\n") }];
}

function lastProbe({ connection, probe: { result, at } }: ConnectionFacts): ConnectionProbe {
  const before = connection.status?.lastProbe;
  const reachable = result.reason === "Reachable";
  const isSame = before?.reachable === reachable && before.message === result.message;
  if (isSame && at - Date.parse(before.time) < probeNewsMs) return before;
  return { time: new Date(at).toISOString(), reachable, message: result.message };
}
