// The two servers of the demo: a real PostgreSQL with TLS and SCRAM, and a scripted server that speaks OpenAI's wire format.
import { randomBytes } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { startPostgres, type PostgresServer } from "../../test/integration/postgres-server.ts";
import { startOpenAiServer } from "../../test/openai-server/server.ts";
import { orderCount, script } from "./script.ts";

export const socialSecurityNumbers = ["078-05-1120", "219-09-9999", "457-55-5462"];
const names = ["Ada Lovelace", "Grace Hopper", "Katherine Johnson"];

export interface DemoServers {
  readonly databasePassword: string;
  readonly openAiKey: string;
  /** Writes the example's manifests with the ports and secrets of this run. */
  writeManifests(directory: string): Promise<void>;
  /** Runs one statement as the superuser, past Chaperone: how the demo looks at what really happened. */
  lookAt(sql: string): Promise<Record<string, unknown>[]>;
  close(): Promise<void>;
}

export async function startServers(): Promise<DemoServers> {
  const databasePassword = randomBytes(12).toString("hex");
  const openAiKey = `sk-demo-${randomBytes(12).toString("hex")}`;
  const [postgres, openai] = await Promise.all([
    startPostgres({ tls: true }),
    startOpenAiServer({ script, apiKey: openAiKey }),
  ]);
  await fill(postgres, databasePassword);
  const values: Readonly<Record<string, string>> = {
    DEMO_DATABASE_PASSWORD: databasePassword,
    DEMO_DATABASE_CA: (postgres.caPem ?? "").trimEnd().replaceAll("\n", "\n    "),
    DEMO_DATABASE_PORT: String(postgres.port),
    DEMO_OPENAI_KEY: openAiKey,
    DEMO_OPENAI_URL: openai.url,
  };
  return {
    databasePassword,
    openAiKey,
    async writeManifests(directory) {
      await mkdir(directory, { recursive: true });
      for (const file of ["connections.yaml", "invoice-agent.yaml"]) {
        const template = await readFile(join(import.meta.dirname, "policies", file), "utf8");
        const filled = template.replace(
          /\$\{(DEMO_\w+)\}/g,
          (whole, name: string) => values[name] ?? whole,
        );
        await writeFile(join(directory, file), filled, { mode: 0o600 });
      }
    },
    lookAt: async (sql) =>
      withSuperuser(postgres, "orders", async (client) => (await client.query(sql)).rows),
    async close() {
      await Promise.all([openai.close(), postgres.stop()]);
    },
  };
}

async function fill(postgres: PostgresServer, password: string): Promise<void> {
  await withSuperuser(postgres, "postgres", async (client) => {
    await client.query(`CREATE ROLE app LOGIN PASSWORD '${password}'`);
    await client.query("CREATE DATABASE orders OWNER app");
  });
  await withSuperuser(postgres, "orders", async (client) => {
    await client.query(
      "CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, ssn text NOT NULL)",
    );
    await client.query(
      "CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, status text NOT NULL, refunds int NOT NULL DEFAULT 0)",
    );
    for (const [index, name] of names.entries()) {
      await client.query("INSERT INTO customers VALUES ($1, $2, $3)", [
        index + 1,
        name,
        socialSecurityNumbers[index],
      ]);
    }
    await client.query(
      `INSERT INTO orders SELECT n, 1 + n % 3, 'paid' FROM generate_series(1, ${orderCount}) n`,
    );
    await client.query(
      "GRANT ALL ON ALL TABLES IN SCHEMA public TO app; ALTER TABLE customers OWNER TO app",
    );
  });
}

async function withSuperuser<T>(
  postgres: PostgresServer,
  database: string,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const client = new pg.Client({
    host: postgres.host,
    port: postgres.port,
    user: postgres.superuser,
    password: postgres.password,
    database,
    ssl: { ca: postgres.caPem, servername: "localhost" },
  });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
