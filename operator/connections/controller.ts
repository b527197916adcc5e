// Keeps every Connection's status true: what others claim, whether its Secrets can be used, whether its upstream answers, how many grants are out.
import { createHash } from "node:crypto";
import type { Connection } from "../../crds/types.gen.ts";
import type { TlsSecrets } from "../grants/tls-secrets.ts";
import type { KubeClient } from "../kube/client.ts";
import { spread } from "../kube/backoff.ts";
import { Controller, type ControllerLog } from "../kube/controller.ts";
import { resourceTypes } from "../kube/resource-types.ts";
import { applyStatus } from "../kube/status.ts";
import type { KubeView } from "../kube/view.ts";
import type { RoleLeases } from "../leases/role-leases.ts";
import type { Tokens } from "../tokens/tokens.ts";
import { connectionName, connectionTarget } from "./endpoint.ts";
import { probe, type ProbeOptions, type ProbeResult } from "./probe.ts";
import { connectionStatus } from "./status.ts";
import { usableCredential } from "./usable.ts";

/** How old the number of grants and a rotated Secret may get. */
const lookAgainMs = 20_000;

/** How often a healthy upstream hears from us. */
const probeIntervalMs = 60_000;

/** A broken one is looked at again sooner: somebody is mending it. */
const brokenIntervalMs = 15_000;

/** Probes wait, they do not compute: a dead upstream must not hold up the others. */
const workers = 8;

const fieldManager = "chaperone-connections";

export interface ConnectionControllerOptions {
  readonly client: KubeClient;
  readonly view: KubeView;
  readonly now: () => number;
  readonly random: () => number;
  readonly log: ControllerLog;
  readonly forbidden: ProbeOptions["forbidden"];
  readonly resolve: ProbeOptions["resolve"];
  /** Roots besides Node's own, PEM; for Connections that name no CA. */
  readonly roots: string | undefined;
  /** Grants in force on `namespace/name`. */
  readonly activeGrants: (connection: string) => number;
  /** What became of the roles made for `namespace/name`. */
  readonly leases: Pick<RoleLeases, "outcome">;
  /** Whether the tokens of `credential.oauth2` can be had. */
  readonly tokens: Pick<Tokens, "lease">;
}

interface Probed {
  readonly of: string;
  readonly at: number;
  readonly result: ProbeResult;
}

export function connectionController(options: ConnectionControllerOptions): Controller {
  const { client, view, now, random } = options;
  /** By `namespace/name`; entries go with their Connection. */
  const probes = new Map<string, Probed>();

  const probeNow = async (
    connection: Connection,
    tls: TlsSecrets,
    signal: AbortSignal,
  ): Promise<Probed> => {
    const key = connectionName(connection);
    const { pins } = connection.spec.endpoint.tls ?? {};
    const of = createHash("sha256")
      .update(JSON.stringify([connection.spec.endpoint, tls]))
      .digest("base64url");
    const known = probes.get(key);
    const intervalMs = known?.result.reason === "Reachable" ? probeIntervalMs : brokenIntervalMs;
    if (known !== undefined && known.of === of && now() - known.at < intervalMs) return known;
    const result = await probe(connectionTarget(connection), {
      forbidden: options.forbidden,
      resolve: options.resolve,
      tls: {
        ...(options.roots === undefined ? {} : { ca: options.roots }),
        ...tls,
        ...(pins === undefined ? {} : { pins }),
      },
      signal,
    });
    const probed = { of, at: now(), result };
    probes.set(key, probed);
    return probed;
  };

  const controller = new Controller({
    name: "connections",
    workers,
    log: options.log,
    async reconcile(key, signal) {
      const [namespace = "", name = ""] = key.split("/");
      const connection = view.connection(namespace, name);
      if (connection === undefined) {
        probes.delete(key);
        return {};
      }
      const { tls, problem } = await usableCredential(
        connection,
        view.secret.bind(view),
        options.tokens,
        signal,
      );
      const status = connectionStatus({
        connection,
        siblings: view.connectionsIn(namespace),
        credential: problem,
        probe: await probeNow(connection, tls, signal),
        activeGrants: options.activeGrants(key),
        roles: options.leases.outcome(key),
        now: now(),
      });
      await applyStatus(
        client,
        resourceTypes.Connection,
        // The tools in it are another's to say.
        { ...connection, status: { ...connection.status, tools: undefined } },
        { ...status },
        fieldManager,
        signal,
      );
      return { requeueAfterMs: spread(lookAgainMs, random) };
    },
  });

  // What was listed before we began to listen.
  for (const connection of view.connections.store.values())
    controller.queue.add(connectionName(connection));
  view.connections.store.onChange(({ key, before, after }) => {
    controller.queue.add(key);
    if (
      before !== undefined &&
      after !== undefined &&
      before.metadata.generation === after.metadata.generation
    )
      return;
    // What one claims, its siblings may lose.
    for (const sibling of view.connectionsIn((after ?? before)?.metadata.namespace ?? ""))
      controller.queue.add(connectionName(sibling));
  });
  return controller;
}
