// docs/http-clients.md says what this suite runs and knows; the suites beside this one hold each word of it true.
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { httpClients, type ClientKey } from "./clients.ts";
import { expectedToDiffer, httpDifferences } from "./differences.ts";
import { modes } from "./room.ts";

const page = new URL("../../../docs/http-clients.md", import.meta.url);

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

const keys = Object.keys(httpClients).filter((key): key is ClientKey => key in httpClients);

const generated: Readonly<Record<string, string>> = {
  clients: table(
    ["client", "version", "trust by", "endpoints", "hosts", "HTTPS_PROXY", "reads `HTTPS_PROXY`"],
    keys.map((key) => {
      const { name, version, trust, scenes, proxy } = httpClients[key];
      const cells = modes.map((mode) => {
        const unlike = expectedToDiffer(key, mode).length;
        return unlike === 0 ? `${scenes} as direct` : `${scenes} − ${unlike}`;
      });
      return [name, version, trust.map((one) => `\`${one}\``).join(" or "), ...cells, proxy];
    }),
  ),
  differences: table(
    ["difference", "why"],
    httpDifferences.map(({ what, why }) => [what, why]),
  ),
};

test("every scene that may differ belongs to a client that is played", () => {
  for (const { where } of httpDifferences)
    for (const key of Object.keys(where)) assert.ok(key in httpClients, key);
});

/** The page with every `<!-- name -->` … `<!-- end -->` filled in; GOLDEN=write keeps it so. */
test("docs/http-clients.md says what is run and what differs", async () => {
  const text = await readFile(page, "utf8");
  let expected = text;
  for (const [name, content] of Object.entries(generated)) {
    const place = new RegExp(`<!-- ${name} -->\n[^]*?<!-- end -->`);
    assert.match(text, place, `docs/http-clients.md has a place for ${name}`);
    expected = expected.replace(place, () => `<!-- ${name} -->\n\n${content}\n\n<!-- end -->`);
  }
  if (process.env["GOLDEN"] === "write") await writeFile(page, expected);
  else assert.equal(text, expected, "run it with GOLDEN=write to fill the page in");
});
