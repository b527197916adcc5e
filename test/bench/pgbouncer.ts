// PgBouncer in session mode on the proxy's core: the rival that PostgreSQL traffic is measured against.
import { chmod, chown, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { issueServerCertificate } from "../integration/postgres-tls.ts";
import type { PostgresServer } from "../integration/postgres-server.ts";
import { planPort } from "./ports.ts";
import { end, onProxyCore, untilListening } from "./processes.ts";

export interface PgBouncer {
  readonly port: number;
  readonly pid: number;
  stop(): Promise<void>;
}

/** PgBouncer refuses to run as root. */
const unprivilegedId = 65534;

/** Logs in as the server's superuser; clients may use TLS. Its leg to the server is plain. */
export async function startPgBouncer(
  server: PostgresServer,
  database: string,
  folder: string,
): Promise<PgBouncer> {
  const port = await planPort();
  const issued = await issueServerCertificate(["localhost"], ["127.0.0.1"]);
  const asRoot = process.getuid?.() === 0;
  const own = async (name: string, text: string): Promise<string> => {
    const file = join(folder, name);
    await writeFile(file, text, { mode: 0o600 });
    if (asRoot) await chown(file, unprivilegedId, unprivilegedId);
    return file;
  };
  const users = await own("users.txt", `"${server.superuser}" "${server.password}"\n`);
  const certificate = await own("pgbouncer.crt", issued.certificatePem);
  const key = await own("pgbouncer.key", issued.keyPem);
  const config = await own(
    "pgbouncer.ini",
    [
      "[databases]",
      `${database} = host=${server.host} port=${server.port} dbname=${database}`,
      "[pgbouncer]",
      `listen_port = ${port}`,
      "listen_addr = 127.0.0.1",
      "unix_socket_dir =",
      "auth_type = scram-sha-256",
      `auth_file = ${users}`,
      "client_tls_sslmode = allow",
      `client_tls_cert_file = ${certificate}`,
      `client_tls_key_file = ${key}`,
      "pool_mode = session",
      "max_client_conn = 200",
      "default_pool_size = 50",
      "log_connections = 0",
      "log_disconnections = 0",
      "",
    ].join("\n"),
  );
  await chmod(folder, 0o755);
  const child = onProxyCore(
    ["pgbouncer", "-q", ...(asRoot ? ["-u", "nobody"] : []), config],
    "plain",
  );
  await untilListening(port);
  // SIGTERM waits for clients to leave; SIGINT only for what they are doing.
  return { port, pid: child.pid ?? 0, stop: () => end(child, "SIGINT") };
}
