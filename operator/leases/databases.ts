// The databases that roles are made in: who logs in there, and the work done over one short connection each time.
import type { Connection } from "../../crds/types.gen.ts";
import { connectionName } from "../connections/endpoint.ts";
import { endpointOf } from "../grants/govern.ts";
import { readAdminLogin } from "../grants/lease.ts";
import { LeaseRefused } from "../grants/lease-refused.ts";
import { readTlsSecrets } from "../grants/tls-secrets.ts";
import type { ResourceView } from "../resources.ts";
import type { AdminTarget, DatabaseAccess } from "./admin.ts";
import type { endRoles, FoundRoles, RoleMade, RoleRequest } from "./database-role.ts";
import { Turns } from "./turns.ts";

export class Databases {
  readonly #view: ResourceView;
  readonly #access: DatabaseAccess;
  readonly #turns = new Turns();

  constructor(view: ResourceView, access: DatabaseAccess) {
    this.#view = view;
    this.#access = access;
  }

  /** Throws LeaseRefused. */
  async targetOf(connection: Connection, signal: AbortSignal): Promise<AdminTarget> {
    const readSecret = this.#view.secret.bind(this.#view);
    const login = await readAdminLogin(connection, readSecret, signal);
    const name = connectionName(connection);
    const database = connection.spec.postgres?.database;
    if (login === undefined || database === undefined)
      throw new LeaseRefused(
        "CredentialUnusable",
        `connection ${name}: credential.postgresRole and postgres.database are both needed`,
      );
    const endpoint = endpointOf(connection, await readTlsSecrets(connection, readSecret, signal));
    return { connection: name, endpoint, database, ...login };
  }

  /** Throws LeaseRefused, or the signal's reason. */
  async make(target: AdminTarget, request: RoleRequest, signal: AbortSignal): Promise<RoleMade> {
    const { withAdmin, makeRole } = await load();
    return await this.#turns.run(target.connection, signal, () =>
      withAdmin(target, this.#access, signal, (client) => makeRole(client, request)),
    );
  }

  async find(target: AdminTarget, signal: AbortSignal): Promise<FoundRoles> {
    const { withAdmin, findRoles } = await load();
    return await this.#turns.run(target.connection, signal, () =>
      withAdmin(target, this.#access, signal, findRoles),
    );
  }

  /** Waits for no turn: what has to end goes before what is to be made. Tells of each that is gone; throws when one is not. */
  async end(
    before: AdminTarget,
    roles: Parameters<typeof endRoles>[1],
    gone: (name: string) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const loaded = await load();
    const target = await this.#freshTarget(before, signal);
    await loaded.withAdmin(target, this.#access, signal, (client) =>
      loaded.endRoles(client, roles, gone),
    );
  }

  /** The login may have been changed since; where the Connection is gone, what was used last has to do. */
  async #freshTarget(target: AdminTarget, signal: AbortSignal): Promise<AdminTarget> {
    const [namespace = "", name = ""] = target.connection.split("/");
    const connection = this.#view.connection(namespace, name);
    if (connection?.spec.credential?.postgresRole === undefined) return target;
    const fresh = await this.targetOf(connection, signal).catch(() => target);
    return isOneOfItsHosts(fresh, target) ? fresh : target;
  }
}

/** The same set of hosts in whatever order: a role that was made through one of them is found through all. */
export function isSameDatabase(a: AdminTarget, b: AdminTarget): boolean {
  const [ours, theirs] = [hostsOf(a), hostsOf(b)];
  return (
    a.database === b.database &&
    ours.size === theirs.size &&
    countShared(ours, theirs) === ours.size
  );
}

/** A host came or went, and the others are still those that know the role. */
function isOneOfItsHosts(a: AdminTarget, b: AdminTarget): boolean {
  return a.database === b.database && countShared(hostsOf(a), hostsOf(b)) > 0;
}

function countShared(a: ReadonlySet<string>, b: ReadonlySet<string>): number {
  return [...a].filter((host) => b.has(host)).length;
}

function hostsOf({ endpoint }: AdminTarget): ReadonlySet<string> {
  return new Set(
    [endpoint, ...(endpoint.fallbacks ?? [])].map(({ host, port }) => `${host}:${port}`),
  );
}

/** Here and not at the top: most installations make no roles, and never load the client. */
async function load() {
  const [admin, role] = await Promise.all([import("./admin.ts"), import("./database-role.ts")]);
  return { withAdmin: admin.withAdmin, ...role };
}
