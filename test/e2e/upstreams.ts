// A real PostgreSQL and the scripted OpenAI server as Services of the cluster, both with TLS of a CA of their own; made once a run.
import { randomBytes } from "node:crypto";
import { issueServerCertificate } from "../integration/postgres-tls.ts";
import type { Script } from "../openai-server/script.ts";
import { until } from "../cluster/command.ts";
import { apply, created, kubectl, podTimeoutMs, waitFor, type KubeObject } from "./cluster.ts";
import { images } from "./images.ts";

export const databaseHost = "postgres.data.svc.cluster.local";
export const modelHost = "llm.data.svc.cluster.local";
const namespace = "data";
const secretName = "upstream";

export interface Upstreams {
  readonly caPem: string;
  /** Of the database user `app`; what no agent may ever see. */
  readonly password: string;
  readonly apiKey: string;
}

const seed = (password: string): string => `CREATE ROLE app LOGIN PASSWORD '${password}';

CREATE TABLE public.customers (id int PRIMARY KEY, name text, ssn text);

CREATE TABLE public.orders (id int PRIMARY KEY, customer int, status text, refunds int NOT NULL DEFAULT 0);

INSERT INTO public.customers VALUES (1, 'Ada Lovelace', '123-45-6789'), (2, 'Alan Turing', '987-65-4321');

INSERT INTO public.orders SELECT i, 1 + i % 2, 'paid', 0 FROM generate_series(1, 100) i;

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app;

CREATE ROLE lessor LOGIN CREATEROLE PASSWORD '${password}';

GRANT USAGE ON SCHEMA public TO lessor WITH GRANT OPTION;

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lessor WITH GRANT OPTION;

`;

const sql = (text: string) => ({ toolCalls: [{ name: "run_sql", arguments: { sql: text } }] });

const script: Script = {
  models: ["gpt-5-mini"],
  steps: [
    {
      match: { role: "user", text: "social security" },
      ...sql("SELECT id, name, ssn FROM customers ORDER BY id"),
    },
    { match: { role: "user", text: "drop" }, ...sql("DROP TABLE customers") },
    {
      match: { role: "user", text: "refund" },
      ...sql("UPDATE orders SET status = 'refunded' WHERE id = 42"),
    },
    {
      match: { role: "tool", text: "ticket queue" },
      text: "I may not drop it; I went on without.",
    },
    {
      match: { role: "tool", text: "Ada Lovelace" },
      text: "I see the last four digits of two customers.",
    },
    { match: { role: "tool", text: "UPDATE 1" }, text: "Order 42 is refunded." },
    { text: "I have nothing to say to that." },
  ],
};

/** Brings them up when they are not there. */
export async function ensureUpstreams(): Promise<Upstreams> {
  return (await stored()) === undefined ? await make() : await othersMake();
}

async function stored(): Promise<Upstreams | undefined> {
  const found = await kubectl([
    "--namespace",
    namespace,
    "get",
    "secret",
    secretName,
    "--ignore-not-found",
    "-o",
    "json",
  ]);
  if (found === "") return undefined;
  const { data } = JSON.parse(found) as { readonly data: Readonly<Record<string, string>> };
  const text = (key: string): string => Buffer.from(data[key] ?? "", "base64").toString("utf8");
  return { caPem: text("ca.crt"), password: text("app-password"), apiKey: text("api-key") };
}

async function make(): Promise<Upstreams> {
  const issued = await issueServerCertificate([databaseHost, modelHost], []);
  const upstreams = {
    caPem: issued.caPem,
    password: `pw-${randomBytes(12).toString("hex")}`,
    apiKey: `sk-${randomBytes(12).toString("hex")}`,
  };
  await created({ apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } });
  // When another suite was faster, its authority and passwords count.
  const isOurs = await created({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: secretName, namespace },
    stringData: {
      "ca.crt": issued.caPem,
      "tls.crt": issued.certificatePem,
      "tls.key": issued.keyPem,
      "superuser-password": randomBytes(12).toString("hex"),
      "app-password": upstreams.password,
      "api-key": upstreams.apiKey,
      "seed.sql": seed(upstreams.password),
      "script.json": JSON.stringify(script),
    },
  });
  if (!isOurs) return await othersMake();
  await apply(
    ...server("postgres", 5432, ["sh", "/srv/start-postgres.sh"]),
    ...server("llm", 443, ["node", "/srv/test/e2e/upstream/start-openai.ts"], 8443),
  );
  await rolledOut();
  return upstreams;
}

/** Whoever stored them may not have come to the servers yet. */
async function othersMake(): Promise<Upstreams> {
  await until("the upstreams to be there", podTimeoutMs, async () => {
    await rolledOut();
    return true;
  });
  const upstreams = await stored();
  if (upstreams === undefined) throw new Error("somebody took the upstreams away meanwhile");
  return upstreams;
}

async function rolledOut(): Promise<void> {
  for (const name of ["postgres", "llm"])
    await waitFor(namespace, `deployment/${name}`, "condition=Available");
}

function server(
  name: string,
  port: number,
  program: readonly string[],
  containerPort = port,
): readonly KubeObject[] {
  const labels = { app: name };
  return [
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name, namespace },
      spec: { selector: labels, ports: [{ port, targetPort: containerPort }] },
    },
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name, namespace },
      spec: {
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            securityContext: { fsGroup: 1500 },
            containers: [
              {
                name,
                image: images.upstream,
                imagePullPolicy: "IfNotPresent",
                command: program,
                readinessProbe: { tcpSocket: { port: containerPort }, periodSeconds: 1 },
                volumeMounts: [
                  { name: "files", mountPath: "/etc/upstream", readOnly: true },
                  { name: "data", mountPath: "/data" },
                ],
              },
            ],
            volumes: [
              { name: "files", secret: { secretName, defaultMode: 0o440 } },
              { name: "data", emptyDir: {} },
            ],
          },
        },
      },
    },
  ];
}
