// PostgreSQL's own regression files, from Debian's source package, kept in the user's cache: they are not ours to carry.
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { readConfig } from "../cluster/config.ts";

/** Debian 12's; the files are sent to the server that the tests use, and both runs see the same. */
const sourcePackage = "postgresql-15";

/** The directory with `sql/` and `data/`; fetched through apt when it is not there yet. */
export function regressDirectory(): string {
  const kept = keptDirectory();
  if (!existsSync(join(kept, "sql"))) fetch(kept);
  return kept;
}

/** Why they cannot be played on this machine; undefined when they can. */
export function reasonWithoutRegress(): string | undefined {
  const runs = (program: string): boolean =>
    spawnSync(program, ["--version"], { stdio: "ignore" }).status === 0;
  if (!runs("psql")) return "this needs psql";
  return existsSync(join(keptDirectory(), "sql")) || runs("apt-get")
    ? undefined
    : "this needs apt-get, to fetch PostgreSQL's source package";
}

function keptDirectory(): string {
  const cache = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
  return join(cache, "chaperone", `${sourcePackage}-regress`);
}

function fetch(kept: string): void {
  const work = mkdtempSync(join(tmpdir(), "chaperone-regress-"));
  try {
    // A source list and package lists of our own: the machine's stay as they are.
    const list = join(work, "debian.sources");
    writeFileSync(
      list,
      `Types: deb-src\nURIs: ${readConfig().debianMirror}\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n`,
    );
    mkdirSync(join(work, "lists", "partial"), { recursive: true });
    const options = [
      ["Dir::Etc::sourcelist", list],
      ["Dir::Etc::sourceparts", "/dev/null"],
      ["Dir::State::lists", join(work, "lists")],
    ].flatMap(([name, value]) => ["-o", `${name}=${value}`]);
    const apt = (...words: readonly string[]): void => {
      execFileSync("apt-get", [...options, ...words], { cwd: work, stdio: "ignore" });
    };
    apt("update");
    apt("source", "--download-only", sourcePackage);
    const archive = readdirSync(work).find((file) => /\.orig\.tar\.\w+$/.test(file));
    if (archive === undefined) throw new Error(`apt-get brought no source of ${sourcePackage}`);
    execFileSync(
      "tar",
      [
        "xf",
        archive,
        "--strip-components=4",
        "--wildcards",
        "*/src/test/regress/sql/*",
        "*/src/test/regress/data/*",
      ],
      { cwd: work },
    );
    mkdirSync(join(kept, ".."), { recursive: true });
    mkdirSync(kept, { recursive: true });
    for (const part of ["data", "sql"]) renameSync(join(work, part), join(kept, part));
    chmodSync(kept, 0o755);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
