// `make regress`: PostgreSQL's own regression files through psql, direct and proxied under an allow-all policy. Every file that differs stands in
// differences.json with the reasons why; REGRESS_WRITE=1 writes that list anew, REGRESS_FILES=^int plays some. `third`, as `make test` says, plays every
// third file.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import pg from "pg";
import { allow, everything, startHarness } from "../integration/postgres-proxy-harness.ts";
import { startPostgres } from "../integration/postgres-server.ts";
import { regressDirectory } from "./files.ts";
import { play } from "./play.ts";

const listFile = new URL("./differences.json", import.meta.url);
/** Creates the tables that the other files read. */
const setup = "test_setup";
/** What concerns neither tables nor functions is allowed by its kind alone. */
const definitions = ["create", "alter", "drop", "grant", "revoke"] as const;
/** A subscription keeps its database from being dropped. */
const leftOut: ReadonlySet<string> = new Set([setup, "subscription"]);
const pinned = "-c search_path=public,pg_temp";

const directory = regressDirectory();
const chosen = new RegExp(process.env["REGRESS_FILES"] ?? ".");
/** Names say what a file is about, so every third of them in order has some of everything: types, DDL, queries, privileges, psql. */
const everyNth = process.argv[2] === "third" ? 3 : 1;
const files = readdirSync(`${directory}/sql`)
  .filter((file) => file.endsWith(".sql"))
  .map((file) => file.slice(0, -".sql".length))
  .filter((file) => !leftOut.has(file) && chosen.test(file))
  .toSorted()
  .filter((_, index) => index % everyNth === 0);

const server = await startPostgres();
const admin = new pg.Client({ connectionString: server.superuserUrl });
admin.on("error", () => undefined);
await admin.connect();
const proxy = await startHarness(server);
proxy.setRules([...everything, allow({ statements: definitions }, "definitions of any object")]);
await admin.query("CREATE DATABASE base");
const direct = { ...server, options: pinned };
await play(directory, setup, { ...direct, database: "base" });

/** File to the reasons why its output differs; a file that is not here gave the same output, byte for byte. */
const differences: Record<string, string[]> = {};
for (const file of files) {
  const expected = await afresh(() => play(directory, file, { ...direct, database: "regress" }));
  proxy.setEndpoint({ database: "regress" });
  const through = { host: proxy.host, port: proxy.port, password: "none", database: "regress" };
  const actual = await afresh(() => play(directory, file, through));
  proxy.events.length = 0;
  if (actual !== expected) differences[file] = reasons(actual, expected);
}
await admin.end();
await proxy.close();
await server.stop();
report();

/** Every run begins with the same database, and with none of the roles that another left. */
async function afresh(run: () => Promise<string>): Promise<string> {
  await admin.query("DROP DATABASE IF EXISTS regress WITH (FORCE)");
  await admin.query("CREATE DATABASE regress TEMPLATE base");
  const { rows } = await admin.query("SELECT rolname FROM pg_roles WHERE rolname LIKE 'regress%'");
  for (const { rolname } of rows)
    await admin.query(`DROP ROLE "${rolname}"`).catch(() => undefined);
  return run();
}

/** What the proxy refused, without names and numbers; where it refused nothing, the first line that differs. */
function reasons(actual: string, expected: string): string[] {
  const found = new Set<string>();
  const refusal = /(?:ERROR|FATAL): {2}(.*)\n(?:(?!ERROR).*\n){0,4}?HINT: {2}chaperone: (\w+)/g;
  for (const [, said = "", code = ""] of actual.matchAll(refusal))
    found.add(`${code}: ${plain(said)}`);
  if (found.size > 0) return [...found].toSorted();
  const lines = expected.split("\n");
  const at = actual.split("\n").findIndex((line, index) => line !== lines[index]);
  return [`not refused, line ${at + 1}: ${plain(actual.split("\n")[at] ?? "")}`];
}

function plain(text: string): string {
  return text
    .replace(/^refused because it could not be fully understood: /, "")
    .replaceAll(/connection \S+/g, "connection …")
    .replaceAll(/"[^"]*"|\d+/g, "…")
    .replaceAll(/\b(SET|function) [a-z_]\w*(\.\w+)*\b/g, "$1 …")
    .slice(0, 160);
}

function report(): void {
  const kept = JSON.parse(readFileSync(listFile, "utf8")) as Record<string, string[]>;
  const count = Object.keys(differences).length;
  process.stdout.write(`${files.length} files, ${files.length - count} with the same output\n`);
  if (process.env["REGRESS_WRITE"] !== undefined) {
    const all = { ...kept, ...differences };
    const listed = Object.keys(all)
      .filter((file) => !files.includes(file) || differences[file] !== undefined)
      .toSorted();
    const list = Object.fromEntries(listed.map((file) => [file, all[file]]));
    writeFileSync(listFile, `${JSON.stringify(list, null, 2)}\n`);
    return;
  }
  for (const file of files) {
    const [was, is] = [kept[file], differences[file]].map((list) => JSON.stringify(list ?? []));
    if (was === is) continue;
    process.exitCode = 1;
    process.stdout.write(
      `${file} differs otherwise than listed:\n  listed ${was}\n  now    ${is}\n`,
    );
  }
}
