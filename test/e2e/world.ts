// A namespace with connections, policies and one agent in it: where most end-to-end tests begin.
import type { TestContext } from "node:test";
import { until } from "../cluster/command.ts";
import { apply, create, get, namespaceFor, ready, soonMs, type KubeObject } from "./cluster.ts";
import { ask } from "./api-server.ts";
import { images } from "./images.ts";
import { databaseHost, ensureUpstreams, modelHost, type Upstreams } from "./upstreams.ts";

export const agentAccount = "invoice-agent";

const v1alpha1 = "chaperone.dev/v1alpha1";

export interface Answer<T> {
  /** When the agent answered, by the machine's clock. */
  readonly at: number;
  readonly done?: T;
  readonly failed?: { readonly message: string; readonly code?: string; readonly cause?: string };
}

export interface Rows {
  readonly rows: readonly Readonly<Record<string, unknown>>[];
  readonly rowCount: number;
}

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface Agent {
  readonly namespace: string;
  readonly pod: string;
  order<T>(path: string, body?: KubeObject, timeoutMs?: number): Promise<Answer<T>>;
  /** The rows; a refusal fails the test with what it said. */
  sql(text: string, options?: KubeObject): Promise<Rows>;
  /** What the refusal said. */
  refusedSql(
    text: string,
    options?: KubeObject,
  ): Promise<{ readonly message: string; readonly code?: string }>;
}

export interface World extends Agent {
  readonly upstreams: Upstreams;
}

export interface WorldOptions {
  readonly interception?: "hosts" | "endpoints" | "redirect";
  readonly policies?: readonly KubeObject[];
  /** Laid over the pod's own. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Variables of the agent's container. */
  readonly env?: Readonly<Record<string, string>>;
  readonly pod?: KubeObject;
}

export async function worldFor(
  t: TestContext,
  stem: string,
  {
    interception = "hosts",
    policies = [ordersPolicy(), modelPolicy()],
    pod = {},
    annotations = {},
    ...container
  }: WorldOptions = {},
): Promise<World> {
  const upstreams = await ensureUpstreams();
  // An init container that loads the rules needs NET_ADMIN, which PodSecurity leaves to `privileged`.
  const byInit = interception === "redirect" && annotations["chaperone.dev/redirect-by"] !== "node";
  const level = byInit ? "privileged" : "restricted";
  const namespace = await namespaceFor(t, stem, level);
  await furnish(namespace, upstreams, policies);
  await create(agentPod(namespace, "agent", { interception, annotations, ...container, ...pod }));
  await ready(namespace, "agent");
  return { ...(await takingOrders(agentOf(namespace, "agent"))), upstreams };
}

/** Its container counts as ready before its program listens, which takes seconds on a busy machine. */
export async function takingOrders(agent: Agent): Promise<Agent> {
  await until("the agent to take orders", soonMs, async () =>
    agent.order("/env").then(
      () => true,
      () => false,
    ),
  );
  return agent;
}

/** Secrets, connections, policies and the account, and the operator's word that it has seen them. */
export async function furnish(
  namespace: string,
  upstreams: Upstreams,
  policies: readonly KubeObject[] = [ordersPolicy(), modelPolicy()],
): Promise<void> {
  const inNamespace = (object: KubeObject): KubeObject => ({
    ...object,
    metadata: { ...Object(object["metadata"]), namespace },
  });
  await apply(...[...secretsOf(upstreams), ...connections].map(inNamespace));
  await apply(...policies.map(inNamespace));
  for (const { metadata } of connections)
    await hasCondition(namespace, "connection", metadata.name);
}

export async function hasCondition(
  namespace: string,
  resource: string,
  name: string,
): Promise<void> {
  await until(`${resource} ${name} to be seen by the operator`, soonMs, async () => {
    const { status } = await get(namespace, resource, name);
    return Array.isArray(Object(status).conditions);
  });
}

function secretsOf(upstreams: Upstreams): readonly KubeObject[] {
  const secret = (name: string, stringData: KubeObject): KubeObject => ({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name },
    stringData,
  });
  return [
    secret("orders-db", { username: "app", password: upstreams.password }),
    secret("upstream-ca", { "ca.crt": upstreams.caPem }),
    secret("openai", { apiKey: upstreams.apiKey }),
    { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: agentAccount } },
  ];
}

const tls = { mode: "VerifyFull", caSecretRef: { name: "upstream-ca", key: "ca.crt" } };

export const connections = [
  {
    apiVersion: v1alpha1,
    kind: "Connection",
    metadata: { name: "orders-db" },
    spec: {
      protocol: "postgres",
      endpoint: { host: databaseHost, port: 5432, tls },
      hosts: ["orders-db", databaseHost],
      postgres: { database: "orders" },
      credential: {
        static: {
          secretRef: { name: "orders-db" },
          usernameKey: "username",
          passwordKey: "password",
        },
      },
      inject: { env: { DATABASE_URL: "postgresql://agent@${address}/orders" } },
    },
  },
  {
    apiVersion: v1alpha1,
    kind: "Connection",
    metadata: { name: "openai" },
    spec: {
      protocol: "openai",
      endpoint: { url: `https://${modelHost}/v1`, tls },
      hosts: ["api.openai.com"],
      credential: {
        static: {
          secretRef: { name: "openai" },
          header: { name: "Authorization", value: "Bearer ${apiKey}" },
        },
      },
      inject: { env: { OPENAI_BASE_URL: "${url}", OPENAI_API_KEY: "held-by-chaperone" } },
    },
  },
] as const;

export const approvers = "finance-leads";

export const readOrders = {
  name: "read-orders",
  action: "Allow",
  sql: { statements: ["select"], relations: ["public.orders", "public.customers"] },
};

export function ordersPolicy(changes: KubeObject = {}): KubeObject {
  return {
    apiVersion: v1alpha1,
    kind: "AccessPolicy",
    metadata: { name: "invoice-agent" },
    spec: {
      targetRefs: [{ group: "chaperone.dev", kind: "Connection", name: "orders-db" }],
      subjects: [{ serviceAccounts: [agentAccount] }],
      rules: [
        readOrders,
        {
          name: "refunds-need-a-person",
          action: "RequireApproval",
          sql: { statements: ["update"], relations: ["public.orders"], hasWhere: true },
          approval: { approvers: [{ group: approvers }], count: 1, hold: "50s", validFor: "10m" },
        },
        {
          name: "never-destroy",
          action: "Deny",
          sql: { statements: ["drop", "truncate", "delete"] },
          message: "Deletions go through the data team's ticket queue.",
        },
      ],
      masking: [{ columns: ["public.customers.ssn"], transform: { partial: { keepLast: 4 } } }],
      recording: { detail: "Full" },
      ...changes,
    },
  };
}

export function modelPolicy(): KubeObject {
  return {
    apiVersion: v1alpha1,
    kind: "AccessPolicy",
    metadata: { name: "invoice-agent-models" },
    spec: {
      targetRefs: [{ group: "chaperone.dev", kind: "Connection", name: "openai" }],
      subjects: [{ serviceAccounts: [agentAccount] }],
      rules: [
        {
          name: "small-models-with-sql",
          action: "Allow",
          llm: { operations: ["chat"], models: ["gpt-5-mini"], tools: ["run_sql"] },
        },
      ],
      recording: { detail: "Full" },
    },
  };
}

export const restricted = {
  runAsNonRoot: true,
  runAsUser: 1000,
  seccompProfile: { type: "RuntimeDefault" },
};
export const restrictedContainer = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
};

/** A labelled pod of the tests' agent; `spec` is laid over it. */
export function agentPod(
  namespace: string,
  name: string,
  {
    interception = "hosts",
    annotations,
    env = {},
    ...spec
  }: KubeObject &
    Pick<WorldOptions, "annotations" | "env"> & { readonly interception?: string } = {},
): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace,
      labels: { "chaperone.dev/inject": "true" },
      annotations: {
        "chaperone.dev/interception": interception,
        "chaperone.dev/chain": "summarise",
        ...annotations,
      },
    },
    spec: {
      serviceAccountName: agentAccount,
      securityContext: restricted,
      terminationGracePeriodSeconds: 5,
      containers: [
        {
          name: "agent",
          image: images.agent,
          imagePullPolicy: "IfNotPresent",
          env: Object.entries(env).map(([name, value]) => ({ name, value })),
          securityContext: restrictedContainer,
          // Under redirect what is not declared is not reached from outside.
          ports: [{ containerPort: 8000 }],
          readinessProbe: { tcpSocket: { port: 8000 }, periodSeconds: 1 },
        },
      ],
      ...spec,
    },
  };
}

export function agentOf(namespace: string, pod: string): Agent {
  const proxied = `/api/v1/namespaces/${namespace}/pods/http:${pod}:8000/proxy`;
  const order = async <T>(
    path: string,
    body: KubeObject = {},
    timeoutMs = 90_000,
  ): Promise<Answer<T>> =>
    (await ask("POST", `${proxied}${path}`, { body, timeoutMs })) as Answer<T>;
  return {
    namespace,
    pod,
    order,
    async sql(text, options = {}) {
      const { done, failed } = await order<Rows>("/sql", { text, ...options });
      if (done === undefined) throw new Error(`${text}: ${JSON.stringify(failed)}`);
      return done;
    },
    async refusedSql(text, options = {}) {
      const { done, failed } = await order<Rows>("/sql", { text, ...options });
      if (failed === undefined) throw new Error(`${text} was not refused: ${JSON.stringify(done)}`);
      return failed;
    },
  };
}
