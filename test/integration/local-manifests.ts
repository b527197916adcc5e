// Manifests of the local-mode suites, and the database they speak of: values worth masking, and every object that could leak them.
import { randomBytes } from "node:crypto";

export const secretNumbers = ["078-05-1120", "219-09-9999", "457-55-5462"] as const;
export const customerNames = ["Ada Lovelace", "Grace Hopper", "Katherine Johnson"] as const;

export interface Targets {
  readonly postgresPort: number;
  readonly postgresCa: string;
  readonly databasePassword: string;
  readonly openaiPort: number;
  readonly openaiCa: string;
  readonly openaiKey: string;
}

/** Secrets and Connections. */
export function connectionsYaml(targets: Targets): string {
  const pem = (text: string): string => text.trimEnd().replaceAll("\n", "\n    ");
  return `apiVersion: v1
kind: Secret
metadata: {name: orders-db, namespace: agents}
stringData: {username: app, password: "${targets.databasePassword}"}
---
apiVersion: v1
kind: Secret
metadata: {name: orders-db-ca, namespace: agents}
stringData:
  ca.crt: |
    ${pem(targets.postgresCa)}
---
apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: orders-db, namespace: agents}
spec:
  protocol: postgres
  endpoint:
    host: localhost
    port: ${targets.postgresPort}
    tls: {mode: VerifyFull, caSecretRef: {name: orders-db-ca, key: ca.crt}}
  hosts: [orders-db]
  postgres: {database: orders}
  credential:
    static: {secretRef: {name: orders-db}, usernameKey: username, passwordKey: password}
  inject:
    env: {DATABASE_URL: "postgresql://agent@\${address}/orders"}
---
apiVersion: v1
kind: Secret
metadata: {name: openai, namespace: agents}
stringData: {apiKey: "${targets.openaiKey}"}
---
apiVersion: v1
kind: Secret
metadata: {name: openai-ca, namespace: agents}
stringData:
  ca.crt: |
    ${pem(targets.openaiCa)}
---
apiVersion: chaperone.dev/v1alpha1
kind: Connection
metadata: {name: openai, namespace: agents}
spec:
  protocol: openai
  endpoint:
    url: https://localhost:${targets.openaiPort}/v1
    tls: {mode: VerifyFull, caSecretRef: {name: openai-ca, key: ca.crt}}
  hosts: [api.openai.com]
  credential:
    static: {secretRef: {name: openai}, header: {name: Authorization, value: "Bearer \${apiKey}"}}
  inject:
    env: {OPENAI_BASE_URL: "\${url}", OPENAI_API_KEY: "held-by-chaperone"}
`;
}

export interface DatabasePolicy {
  /** YAML of further rules, each as a flow mapping. */
  readonly rules?: readonly string[];
  readonly limits?: string;
  readonly hold?: string;
  readonly recording?: string;
}

/** Reading is allowed, updates of orders need a person, deletions are denied, three columns are masked. */
export function databasePolicyYaml(policy: DatabasePolicy = {}): string {
  return `apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: invoice-agent, namespace: agents}
spec:
  targetRefs: [{group: chaperone.dev, kind: Connection, name: orders-db}]
  subjects: [{serviceAccounts: [invoice-agent]}]
  rules:
    - {name: read, action: Allow, sql: {statements: [select], relations: ["public.*"]}}
    - {name: copy, action: Allow, sql: {statements: [copy], relations: ["public.*"]}}
    - {name: add-customers, action: Allow, sql: {statements: [insert], relations: [public.customers]}}
    - {name: explain, action: Allow, sql: {statements: [explain]}}
    - name: refunds-need-a-person
      action: RequireApproval
      sql: {statements: [update], relations: [public.orders], hasWhere: true}
      approval: {approvers: [{group: finance-leads}], count: 1, hold: ${policy.hold ?? "10s"}, validFor: 10m}
    - {name: never-destroy, action: Deny, sql: {statements: [drop, truncate, delete]}, message: Deletions go through the data team.}
${(policy.rules ?? []).map((rule) => `    - ${rule}\n`).join("")}  masking:
    - columns: [public.customers.ssn]
      transform: {partial: {keepLast: 4}}
    - columns: [public.customers.card]
      transform: {redact: {}}
    - columns: [public.parted.ssn, public.guarded.ssn]
      transform: {nullify: {}}
${policy.limits === undefined ? "" : `  limits: ${policy.limits}\n`}  recording: ${policy.recording ?? "{detail: Full}"}
`;
}

export function modelPolicyYaml(rules?: string, extra = ""): string {
  return `apiVersion: chaperone.dev/v1alpha1
kind: AccessPolicy
metadata: {name: invoice-agent-models, namespace: agents}
spec:
  targetRefs: [{group: chaperone.dev, kind: Connection, name: openai}]
  subjects: [{serviceAccounts: [invoice-agent]}]
  rules:
${rules ?? "    - {name: small-models, action: Allow, llm: {operations: [chat], models: [gpt-5-mini], tools: [run_sql], maxOutputTokens: 2000}}"}
  recording: {detail: Full}
${extra}`;
}

export function newPassword(): string {
  return randomBytes(12).toString("hex");
}

/** The tables, and what a DBA may have put around them before Chaperone came: views, triggers, constraints, partitions, row security. */
export function schemaSql(password: string): readonly string[] {
  return [`CREATE ROLE app LOGIN PASSWORD '${password}'`, "CREATE DATABASE orders OWNER app"];
}

export function tablesSql(): string {
  const rows = customerNames
    .map((name, at) => `(${at + 1}, '${name}', '${secretNumbers[at] ?? ""}', '4111-${at}')`)
    .join(", ");
  return `
    CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, ssn text NOT NULL UNIQUE, card text,
      CONSTRAINT not_own_name CHECK (ssn <> name));
    INSERT INTO customers VALUES ${rows};
    CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, status text NOT NULL, refunds int NOT NULL DEFAULT 0);
    INSERT INTO orders SELECT n, 1 + n % 3, 'paid' FROM generate_series(1, 200) n;
    CREATE TABLE audit_notes (id int GENERATED ALWAYS AS IDENTITY, note text);
    CREATE VIEW customer_cards AS SELECT id, name, ssn AS number FROM customers;
    CREATE MATERIALIZED VIEW customer_copies AS SELECT id, ssn FROM customers;
    CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        RAISE NOTICE 'customer % has number %', NEW.id, (SELECT ssn FROM customers WHERE id = 1);
        PERFORM pg_notify('customers', (SELECT ssn FROM customers WHERE id = 1));
        RETURN NEW;
      END $$;
    CREATE TRIGGER loud AFTER INSERT ON customers FOR EACH ROW EXECUTE FUNCTION loud();
    CREATE FUNCTION number_of(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT ssn FROM customers WHERE id = $1';
    CREATE TABLE parted (id int, ssn text) PARTITION BY RANGE (id);
    CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (1000);
    INSERT INTO parted SELECT id, ssn FROM customers;
    CREATE TABLE guarded (id int, ssn text);
    INSERT INTO guarded SELECT id, ssn FROM customers;
    ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
    CREATE POLICY all_rows ON guarded USING (true);
    CREATE TABLE guarded_child () INHERITS (guarded);
    INSERT INTO guarded_child SELECT id, ssn FROM customers;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
    GRANT CREATE ON SCHEMA public TO app;
    ANALYZE`;
}
