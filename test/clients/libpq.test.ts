// libpq of PostgreSQL 18 before the proxy: both protocol versions, and the options whose proof only a database can give.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { startHarness } from "../integration/postgres-proxy-harness.ts";
import { startPostgres } from "../integration/postgres-server.ts";
import { pythonPackages, runPython } from "./python.ts";

test("libpq speaks 3.0 and 3.2 and cancels in both; channel_binding=require is told why it cannot be", async () => {
  const directory = await mkdtemp(join(tmpdir(), "chaperone-libpq-"));
  const packages = await pythonPackages(["psycopg[binary]==3.3.9"]);
  const server = await startPostgres({ tls: true });
  const harness = await startHarness(server);
  try {
    const roots = join(directory, "proxy.pem");
    await writeFile(roots, harness.caPem);
    const dsn = `host=localhost hostaddr=127.0.0.1 port=${harness.port} dbname=postgres user=agent password=guess sslmode=verify-full sslrootcert=${roots}`;
    const seen = await runPython("libpq_protocol.py", [dsn], packages);
    assert.ok(typeof seen === "object" && seen !== null);
    const {
      "channel_binding=require": binding,
      "require_auth=scram-sha-256": auth,
      ...versions
    } = seen as Record<string, unknown>;
    assert.deepEqual(versions, {
      "3.0": { ended: "57014", after: 1 },
      "3.2": { ended: "57014", after: 1 },
    });
    assert.match(
      String(binding),
      /channel binding required, but server authenticated client without/,
    );
    assert.match(String(auth), /authentication method requirement "scram-sha-256" failed/);
  } finally {
    await harness.close();
    await server.stop();
    await rm(directory, { recursive: true, force: true });
  }
});
