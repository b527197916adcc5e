// The list of differences is true, line by line, and docs/clients.md says what this suite runs and knows.
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { differences, maskDifferences, type Difference } from "./differences.ts";
import { clients, olderInWords } from "./drivers.ts";
import { installPrograms, runProgram, type Programs } from "./programs.ts";
import { allowEverything, openRoom, setPolicyScene, type ClientRoom, type Way } from "./room.ts";
import { olderServers } from "./servers.ts";
import { emptyShop } from "./shop.ts";

const page = new URL("../../docs/clients.md", import.meta.url);

let programs: Programs;
let room: ClientRoom;

before(async () => {
  programs = await installPrograms();
  room = await openRoom();
});

after(async () => {
  await room?.close();
});

/** What psql shows of the last line, error or not. */
async function shown(way: Way, { lines }: Difference): Promise<string> {
  const input = [...lines.slice(0, -1), "\\echo last", "\\warn last", lines.at(-1)].join("\n");
  const { stdout, stderr } = await runProgram(programs, way, "psql", ["-XAt"], { input });
  return [stdout, stderr]
    .map((text) => text.split("last\n")[1]?.trim() ?? "")
    .filter((text) => text !== "")
    .join("\n");
}

for (const difference of differences) {
  test(`differs as listed: ${difference.what}`, async () => {
    await room.run(...emptyShop, "DROP SCHEMA IF EXISTS shelf CASCADE");
    allowEverything(room);
    assert.match(await shown(room.direct, difference), difference.direct);
    await room.run("DROP SCHEMA IF EXISTS shelf CASCADE", "ALTER ROLE postgres RESET ALL");
    assert.match(await shown(room.proxied, difference), difference.proxied);
  });
}

for (const difference of maskDifferences) {
  test(`differs as listed under masks: ${difference.what}`, async () => {
    await setPolicyScene(room);
    assert.match(await shown(room.direct, difference), difference.direct);
    assert.match(await shown(room.proxied, difference), difference.proxied);
  });
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

const told = (list: readonly Difference[]) => list.map(({ what, why }) => [what, why]);

const generated: Readonly<Record<string, string>> = {
  clients: table(
    ["client", "version", "what is run"],
    clients.map(({ name, version, played }) => [name, version, played]),
  ),
  servers: table(
    ["server", "clients"],
    [
      ["PostgreSQL 18 (node_modules)", "all of them"],
      ...[...olderServers].map(([major, version]) => [
        `PostgreSQL ${major} (${version.split("-")[0]})`,
        olderInWords,
      ]),
    ],
  ),
  differences: table(["difference", "why"], told(differences)),
  masks: table(["difference", "why"], told(maskDifferences)),
};

/** The page with every `<!-- name -->` … `<!-- end -->` filled in; GOLDEN=write keeps it so. */
test("docs/clients.md says what is run and what differs", async () => {
  const text = await readFile(page, "utf8");
  let expected = text;
  for (const [name, content] of Object.entries(generated)) {
    const place = new RegExp(`<!-- ${name} -->\n[^]*?<!-- end -->`);
    assert.match(text, place, `docs/clients.md has a place for ${name}`);
    expected = expected.replace(place, () => `<!-- ${name} -->\n\n${content}\n\n<!-- end -->`);
  }
  if (process.env["GOLDEN"] === "write") await writeFile(page, expected);
  else assert.equal(text, expected, "run it with GOLDEN=write to fill the page in");
});
