// Holds the house together: what the bundles may contain, what the README owes its reader, what no file may mention.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { homedir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { build, type Metafile } from "esbuild";

const root = join(import.meta.dirname, "..");
const read = (file: string): string => readFileSync(join(root, file), "utf8");

/** Paid for once per pod, so the proxy carries nothing of the control plane: the Kubernetes client alone is 85 MB and half a second. */
const keptOutOfTheProxy = [
  /^node_modules\/@kubernetes\/client-node\//,
  /^node_modules\/fastify\//,
  /^node_modules\/kysely\//,
  /^operator\//,
  /^cli\//,
  /^test\//,
];

/** What a bundle may still look for at run time besides Node itself: optional parts of `pg`, which find out that they are not there. */
const absent = ["pg-native", "cloudflare:sockets"];

async function bundle(entry: string): Promise<Metafile> {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: [entry],
    bundle: true,
    platform: "node",
    target: "node24",
    format: "esm",
    outdir: "dist",
    write: false,
    metafile: true,
    logLevel: "silent",
    loader: { ".yaml": "text" },
    external: absent,
  });
  return metafile;
}

function unwanted({ inputs }: Metafile): readonly string[] {
  return Object.keys(inputs).filter((file) => keptOutOfTheProxy.some((one) => one.test(file)));
}

test("the proxy's bundle holds nothing of the operator, the command line or the Kubernetes client", async () => {
  const metafile = await bundle("proxy/main.ts");
  assert.ok("proxy/gate.ts" in metafile.inputs, "this is not the proxy's bundle");
  assert.deepEqual(unwanted(metafile), []);
});

test("the same look at the command line, which does use them, finds every one of them", async () => {
  const found = unwanted(await bundle("cli/main.ts"));
  for (const forbidden of keptOutOfTheProxy.slice(0, 5))
    assert.ok(
      found.some((file) => forbidden.test(file)),
      String(forbidden),
    );
});

test("the proxy's bundle needs nothing at run time but Node", async () => {
  const { outputs } = await bundle("proxy/main.ts");
  const imported = Object.values(outputs).flatMap(({ imports }) =>
    imports.filter(({ external }) => external === true).map(({ path }) => path),
  );
  assert.ok(imported.includes("node:crypto"));
  assert.deepEqual(
    imported.filter((path) => !isBuiltin(path) && !absent.includes(path)),
    [],
  );
});

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
}

test("every dependency has its reason in the README's table, and the table names no other", () => {
  const manifest = JSON.parse(read("package.json")) as Manifest;
  const { dependencies, devDependencies, optionalDependencies } = manifest;
  const declared = Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies });
  const rows = tableUnder(read("README.md"), "## Dependencies");
  const named = rows.flatMap(([names = ""]) =>
    [...names.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? ""),
  );
  const covers = (row: string, name: string): boolean =>
    row.endsWith("*") ? name.startsWith(row.slice(0, -1)) : row === name;
  assert.deepEqual(
    declared.filter((name) => !named.some((row) => covers(row, name))),
    [],
    "without a row",
  );
  assert.deepEqual(
    named.filter((row) => !declared.some((name) => covers(row, name))),
    [],
    "in the table and not in package.json",
  );
  const withoutReason = rows.filter(([, why = "", without = ""]) => why === "" || without === "");
  assert.deepEqual(withoutReason, [], "a row says why, and what we would do without it");
});

/** Cells of every table row between this heading and the next one of its level. */
function tableUnder(page: string, heading: string): readonly (readonly string[])[] {
  const [, after = ""] = page.split(`\n${heading}\n`);
  const [section = ""] = after.split("\n## ");
  const rows = section
    .split("\n")
    .filter((line) => line.startsWith("| ") && !line.startsWith("| ---"));
  return rows.slice(1).map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

test("the README and its neighbours stay as short as they promise, and link to what is there", () => {
  const pages = execFileSync("git", ["ls-files", "*.md"], { cwd: root, encoding: "utf8" });
  assert.ok(read("README.md").split("\n").length <= 251, "README.md has more than 250 lines");
  for (const page of pages.trim().split("\n")) {
    const prose = read(page).replace(/```[\s\S]*?```|`[^`\n]*`/g, "");
    const links = [...prose.matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)].map((m) => m[1] ?? "");
    const dead = links.filter((link) => !existsSync(join(root, page, "..", link)));
    assert.deepEqual(dead, [], `${page} links to what is not there`);
  }
});

test("the files that the programs' READMEs walk through are there", () => {
  for (const page of ["proxy/README.md", "operator/README.md"]) {
    const named = [...read(page).matchAll(/`([-\w/]+\.ts)`/g)].map((match) => match[1] ?? "");
    assert.ok(named.length > 10, `${page} names hardly any file`);
    const gone = named.filter(
      (file) => ![join(page, "..", file), file].some((path) => existsSync(join(root, path))),
    );
    assert.deepEqual(gone, [], page);
  }
});

test("no tracked file mentions a path of somebody's machine, or a registry of one", () => {
  const files = execFileSync("git", ["ls-files", "-z"], { cwd: root, encoding: "utf8" });
  const home = homedir();
  const isTelling = (path: string): boolean => path.split("/").length > 2;
  const here = [root, home]
    .filter(isTelling)
    .map((path) => path.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const pattern = new RegExp(
    [
      String.raw`(?<![\w.~/-])/(?:home|Users)/[A-Za-z]`,
      String.raw`(?<![\w.~/-])/root/`,
      ...here,
    ].join("|"),
  );
  const found = files
    .split("\0")
    .filter(
      (file) => file !== "" && file !== "scripts/house.test.ts" && existsSync(join(root, file)),
    )
    .flatMap((file) =>
      read(file)
        .split("\n")
        .flatMap((line, index) => (pattern.test(line) ? [`${file}:${index + 1}`] : [])),
    );
  assert.deepEqual(found, []);
  const hosts = [...read("package-lock.json").matchAll(/"resolved": "(\w+:\/\/[^/"]+)/g)].map(
    (match) => match[1],
  );
  assert.deepEqual(hosts, []);
});

test("every invariant names tests that are there", () => {
  const chapters = read("docs/invariants.md")
    .split(/^\d\. /m)
    .slice(1);
  const promised = [
    ...(read("docs/architecture.md")
      .split("## 13. Invariants")[1]
      ?.split("\n## ")[0]
      ?.matchAll(/^\d\. (.*)$/gm) ?? []),
  ].map(([, promise]) => promise ?? "");
  assert.equal(promised.length, 9);
  assert.deepEqual(
    chapters.map((chapter) => /^\*\*(.*)\*\*/.exec(chapter)?.[1]),
    promised,
  );
  for (const chapter of chapters) {
    const tests = [...chapter.matchAll(/^ {3}- `([^`]+)`: (.*)$/gm)];
    assert.ok(tests.length >= 2, chapter.slice(0, 80));
    for (const [, file = "", title = ""] of tests)
      assert.ok(read(file).includes(`"${title}"`), `${file} has no test "${title}"`);
  }
});

test("every line of the threat model names tests that are there, or says why there is none", () => {
  const chapters = read("docs/security.md").split(/^## /m).slice(2);
  assert.ok(chapters.length >= 6);
  for (const chapter of chapters) {
    const [name = ""] = chapter.split("\n");
    for (const heading of ["What holds:", "What does not:"])
      assert.ok(chapter.includes(heading), `${name}: ${heading}`);
    const [holding = "", rest = ""] = chapter.split("What does not:");
    for (const line of holding.split(/^- /m).slice(1))
      assert.ok(testsOf(line).length > 0, `${name}: no test beneath "${line.slice(0, 80)}"`);
    for (const line of rest.split(/^- /m).slice(1))
      assert.ok(
        testsOf(line).length > 0 || /Not tested: [^\n]+\.\n?$/.test(line.trimEnd()),
        `${name}: neither a test nor a reason beneath "${line.slice(0, 80)}"`,
      );
  }
});

/** The tests named beneath a line; each has to be there, under a fixed title or one with a placeholder. */
function testsOf(line: string): readonly string[] {
  return [...line.matchAll(/^ {2}- `([^`]+)`: (.*)$/gm)].map(([, file = "", title = ""]) => {
    const text = read(file);
    assert.ok(
      text.includes(`"${title}"`) || text.includes(`\`${title}\``),
      `${file} has no test "${title}"`,
    );
    return title;
  });
}
