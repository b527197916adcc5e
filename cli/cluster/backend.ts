// The state commands on a cluster: recordings and decisions through the operator's API, quarantines as resources of Kubernetes.
//
// Decisions go to the operator and not into the status of the AccessRequest: an approver then needs no right to write that status, where
// one missing webhook would let them write any verdict; the operator asks Kubernetes for the verb `approve` on each policy, stamps who they
// are, and answers with a sentence when it is no.
import type { StoredEvent } from "../../contract/event.ts";
import type { StreamVerdict } from "../../operator/audit/verify.ts";
import type { Backend, EventPage, Recording, RequestRow, SessionRow } from "../backend.ts";
import { pickSession, quarantineRow } from "../dev/backend.ts";
import { Failure } from "../exit.ts";
import { ApiServer } from "./api-server.ts";
import { openCluster } from "./kubeconfig.ts";
import { OperatorApi, OperatorSaidNo } from "./operator-api.ts";
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
  const scope = narrowing(cluster.namespace);
  const quarantines = quarantinesOf(server, () => scope.narrowed());

  const get = (path: string, query: Query): Promise<unknown> =>
    scope.ask((within) =>
      operator.call("GET", `${path}?${search({ ...query, namespace: within })}`),
    );
  const requests = async (): Promise<readonly RequestRow[]> =>
    ((await get("/v1/read/requests", {})) as { requests: RequestRow[] }).requests; // as operator/api/routes/read.ts answers
  const sessions = async (limit: number): Promise<readonly SessionRow[]> =>
    (
      (await get("/v1/read/sessions", { limit: Math.min(limit, maxPage) })) as {
        sessions: SessionRow[];
      }
    ).sessions;

  return {
    sessions,
    async events({ limit, ...query }) {
      const page = (await get("/v1/read/events", {
        ...query,
        limit: Math.min(limit, maxPage),
      })) as EventPage;
      return { events: page.events as readonly StoredEvent[], cursor: page.cursor };
    },
    async recording(session, whole) {
      const id = await pickSession(await sessions(maxPage), session);
      if (id === undefined) return { events: [], contents: [] };
      const path = `/v1/read/sessions/${encodeURIComponent(id)}/replay?${search({ whole: String(whole) })}`;
      return (await operator.call("GET", path)) as Recording;
    },
    async verify() {
      return ((await operator.call("GET", "/v1/read/verify")) as { streams: StreamVerdict[] })
        .streams;
    },
    async requests(all) {
      const rows = await requests();
      return all ? rows : rows.filter((row) => row.phase === "Pending" || row.phase === "Approved");
    },
    async decide(within, name, verdict, reason) {
      const asked = within ?? onlyNamespace(await requests(), name);
      const path = `/v1/read/requests/${encodeURIComponent(asked)}/${encodeURIComponent(name)}/decision`;
      const body = { verdict, ...(reason === undefined ? {} : { reason }) };
      return (await operator.call("POST", path, body)) as RequestRow;
    },
    quarantines: async () => (await quarantines.list()).map(quarantineRow),
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

/** Asks for every namespace, and for the context's own when the person may see no more: said once, so that nobody takes a part for the whole. */
function narrowing(own: string) {
  let isNarrow = false;
  const narrowed = (): void => {
    if (!isNarrow)
      process.stderr.write(
        `chaperone: you may not look at every namespace; this is namespace ${own} (kubectl config set-context --current --namespace=… changes it)\n`,
      );
    isNarrow = true;
  };
  return {
    narrowed,
    async ask<T>(work: (namespace: string | undefined) => Promise<T>): Promise<T> {
      if (isNarrow) return await work(own);
      try {
        return await work(undefined);
      } catch (error) {
        if (!(error instanceof OperatorSaidNo) || error.reason !== "NotAuthorized") throw error;
        const answer = await work(own);
        narrowed();
        return answer;
      }
    },
  };
}
