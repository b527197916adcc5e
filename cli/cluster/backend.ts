// The state commands on a cluster: recordings and decisions through the operator's API, quarantines as resources of Kubernetes.
//
// Decisions go to the operator and not into the status of the AccessRequest: an approver then needs no right to write that status, where
// one missing webhook would let them write any verdict; the operator asks Kubernetes for the verb `approve` on each policy, stamps who they
// are, and answers with a sentence when it is no.
import type { StoredEvent } from "../../contract/event.ts";
import type { BudgetRow } from "../../operator/budgets/used.ts";
import type { StreamVerdict } from "../../operator/audit/verify.ts";
import type { Backend, EventPage, Recording, RequestRow, SessionRow } from "../backend.ts";
import { pickSession, quarantineRow } from "../dev/backend.ts";
import { Failure } from "../exit.ts";
import { ApiServer } from "./api-server.ts";
import { openCluster } from "./kubeconfig.ts";
import { OperatorApi, OperatorSaidNo } from "./operator-api.ts";
import { pods } from "./pods.ts";
import { Scope } from "./scope.ts";
import { quarantines as quarantinesOf } from "./quarantines.ts";

/** The operator's own bound on one page. */
const maxPage = 1_000;

export interface ClusterOptions {
  readonly context: string | undefined;
  /** Where Chaperone is installed. */
  readonly namespace: string;
  readonly env: NodeJS.ProcessEnv;
}

export async function openClusterBackend({
  context,
  namespace,
  env,
}: ClusterOptions): Promise<Backend> {
  const cluster = openCluster(context, env);
  const server = new ApiServer(cluster);
  const operator = new OperatorApi(server, namespace, Date.now);
  const scope = new Scope(cluster.namespace);
  const quarantines = quarantinesOf(server, scope);

  const get = (path: string, query: Query): Promise<unknown> =>
    scope.ask(
      (within) => operator.call("GET", `${path}?${search({ ...query, namespace: within })}`),
      (error) => error instanceof OperatorSaidNo && error.reason === "NotAuthorized",
    );
  const requests = async (): Promise<readonly RequestRow[]> =>
    ((await get("/v1/read/requests", {})) as { requests: RequestRow[] }).requests; // as operator/api/routes/read.ts answers
  const sessions = async (limit: number): Promise<readonly SessionRow[]> =>
    (
      (await get("/v1/read/sessions", { limit: Math.min(limit, maxPage) })) as {
        sessions: SessionRow[];
      }
    ).sessions;

  /** A list goes out: if it is only a part, that is said with it. */
  const shown = <T>(list: T): T => {
    scope.say();
    return list;
  };

  return {
    sessions: async (limit) => shown(await sessions(limit)),
    async events({ limit, ...query }) {
      const page = (await get("/v1/read/events", {
        ...query,
        limit: Math.min(limit, maxPage),
      })) as EventPage;
      return shown({ events: page.events as readonly StoredEvent[], cursor: page.cursor });
    },
    async recording(session, whole) {
      const id = await pickSession(await sessions(maxPage), session);
      if (id === undefined) return { events: [], contents: [] };
      const path = `/v1/read/sessions/${encodeURIComponent(id)}/replay?${search({ whole: String(whole) })}`;
      return (await operator.call("GET", path)) as Recording;
    },
    budgets: async () =>
      shown(((await get("/v1/read/budgets", {})) as { budgets: readonly BudgetRow[] }).budgets),
    async verify() {
      return ((await operator.call("GET", "/v1/read/verify")) as { streams: StreamVerdict[] })
        .streams;
    },
    async requests(all) {
      const rows = shown(await requests());
      return all ? rows : rows.filter((row) => row.phase === "Pending" || row.phase === "Approved");
    },
    async decide(within, name, verdict, reason) {
      const asked = within ?? onlyNamespace(await requests(), name);
      const path = `/v1/read/requests/${encodeURIComponent(asked)}/${encodeURIComponent(name)}/decision`;
      const body = { verdict, ...(reason === undefined ? {} : { reason }) };
      return (await operator.call("POST", path, body)) as RequestRow;
    },
    pods: async () => shown(await pods(server, scope)),
    quarantines: async () => shown(await quarantines.list()).map(quarantineRow),
    addQuarantine: async (input) => quarantineRow(await quarantines.add(input)),
    liftQuarantine: (within, name) => quarantines.lift(within, name),
    close: async () => server.close(),
  };
}

type Query = Readonly<Record<string, string | number | undefined>>;

function search(query: Query): string {
  const set = Object.entries(query).flatMap(([name, value]): [string, string][] =>
    value === undefined ? [] : [[name, String(value)]],
  );
  return new URLSearchParams(set).toString();
}

/** A request is named without its namespace on most screens, so it is looked for. */
function onlyNamespace(rows: readonly RequestRow[], name: string): string {
  const [first, ...others] = rows.filter((row) => row.name === name);
  if (first === undefined)
    throw new Failure(
      `there is no access request ${name}; see: kubectl chaperone requests list --all`,
    );
  if (others.length > 0)
    throw new Failure(
      `several namespaces have an access request ${name}; name one with --namespace`,
    );
  return first.namespace;
}
