import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { differs } from "./load-rules.ts";
import { readInitConfig } from "./init-config.ts";
import { rulesCounted, rulesText } from "./rules.ts";

const golden = join(import.meta.dirname, "golden/rules.nft");
const options = readInitConfig({
  CHAPERONE_PROXY_UID: "64535",
  CHAPERONE_INBOUND: "tcp:15020,tcp:8080,udp:5353,tcp:8080",
});

test("the rules are those that were looked at (make golden writes them anew)", () => {
  const text = rulesText(options);
  if (process.env.GOLDEN === "write") writeFileSync(golden, text);
  assert.equal(text, readFileSync(golden, "utf8"));
});

test("a pod that declares no port has no rule that lets anybody in", () => {
  assert.doesNotMatch(rulesText({ proxyUid: 1, inbound: [] }), /dport \{/);
});

function listed(counts: ReadonlyMap<string, number>, withHook = true): string {
  const nftables = [...counts].flatMap(([name, count]) => [
    { chain: { name, ...(withHook && { hook: "output" }) } },
    ...Array.from({ length: count }, () => ({ rule: { chain: name } })),
  ]);
  return JSON.stringify({ nftables: [{ metainfo: {} }, ...nftables] });
}

test("a table that was read back counts only with all of its chains and rules, each chain hooked", () => {
  const expected = rulesCounted(options);
  assert.equal(differs(listed(expected), expected), undefined);
  assert.match(
    differs(listed(expected, false), expected) ?? "",
    /chain out_nat has not one of its 5/,
  );
  assert.match(differs('{"nftables":[]}', expected) ?? "", /not one of its 5 rules/);
  const short = new Map([...expected, ["out_nat", 4]]);
  assert.match(differs(listed(short), expected) ?? "", /chain out_nat has 4 of its 5 rules/);
  const more = new Map([...expected, ["bypass", 1]]);
  assert.match(differs(listed(more), expected) ?? "", /there is a chain bypass/);
});

test("what chaperone-init is told has to be whole", () => {
  for (const uid of ["", "0", "-1", "1.5", "x", "4294967295"])
    assert.throws(() => readInitConfig({ CHAPERONE_PROXY_UID: uid }), /CHAPERONE_PROXY_UID/);
  for (const inbound of [
    "80",
    "tcp:",
    "tcp:0",
    "tcp:65536",
    "sctp:1",
    "tcp:1:2",
    "tcp:1,",
    "tcp:1 }",
  ])
    assert.throws(
      () => readInitConfig({ CHAPERONE_PROXY_UID: "1", CHAPERONE_INBOUND: inbound }),
      /CHAPERONE_INBOUND/,
      inbound,
    );
});
