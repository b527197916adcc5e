import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";

import { chained, listFrom, unchained, type Edited } from "./conflist.ts";

const flannel = `{
  "name": "cbr0",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "flannel",
      "delegate": { "hairpinMode": true, "isDefaultGateway": true }
    },
    {
      "type": "portmap",
      "capabilities": { "portMappings": true }
    }
  ]
}
`;
const ours = {
  type: "chaperone",
  capabilities: { "io.kubernetes.cri.pod-annotations": true },
};

function textOf(edited: Edited): string {
  assert.ok("text" in edited, JSON.stringify(edited));
  return edited.text;
}

function pluginsIn(text: string): unknown[] {
  return (JSON.parse(text) as { plugins: unknown[] }).plugins;
}

test("our plugin stands behind the others, and every byte of theirs stays", () => {
  const text = textOf(chained(flannel));
  assert.deepEqual(pluginsIn(text), [...pluginsIn(flannel), ours]);
  assert.equal(text.replace(`,${JSON.stringify(ours)}`, ""), flannel);
  assert.equal(unchained(text), flannel);
});

const json = (value: fc.Arbitrary<unknown>) =>
  fc
    .tuple(value, fc.constantFrom(undefined, 1, 2, "\t"))
    .map(([one, indent]) => JSON.stringify(one, null, indent));
const plugin = fc.record(
  {
    type: fc.string().filter((type) => type !== "chaperone"),
    capabilities: fc.dictionary(fc.string(), fc.boolean()),
    anything: fc.jsonValue(),
  },
  { requiredKeys: ["type"] },
);
const space = fc.string({ unit: fc.constantFrom(" ", "\n", "\t", "\r"), maxLength: 4 });
const conflist = fc
  .tuple(
    space,
    json(
      fc.record(
        {
          name: fc.string(),
          plugins: fc.array(plugin, { minLength: 1, maxLength: 4 }),
          x: fc.jsonValue(),
        },
        { requiredKeys: ["plugins"] },
      ),
    ),
    space,
  )
  .map(([before, text, after]) => before + text + after);

test("any list comes out a list with our plugin last, twice is once, and what is taken out leaves it byte for byte", () => {
  fc.assert(
    fc.property(conflist, (text) => {
      const once = textOf(chained(text));
      const before = JSON.parse(text) as object;
      assert.deepEqual(JSON.parse(once), { ...before, plugins: [...pluginsIn(text), ours] });
      assert.equal(textOf(chained(once)), once);
      assert.equal(unchained(once), text);
      assert.equal(unchained(text), text);
    }),
  );
});

test("a list that somebody wrote anew with our plugin in it keeps it as it is, and loses nothing but it", () => {
  fc.assert(
    fc.property(conflist, plugin, (text, later) => {
      const value = JSON.parse(textOf(chained(text))) as { plugins: unknown[] };
      const rewritten = JSON.stringify({ ...value, plugins: [...value.plugins, later] }, null, 3);
      assert.equal(textOf(chained(rewritten)), rewritten);
      const { plugins, ...rest } = JSON.parse(unchained(rewritten)) as { plugins: unknown[] };
      assert.deepEqual(plugins, [...pluginsIn(text), JSON.parse(JSON.stringify(later))]);
      const { plugins: _, ...others } = JSON.parse(text) as { plugins: unknown[] };
      assert.deepEqual(rest, others);
    }),
  );
});

test("any configuration of one plugin becomes a list of it and ours", () => {
  fc.assert(
    fc.property(json(plugin), (text) => {
      assert.deepEqual(pluginsIn(textOf(listFrom(text))), [JSON.parse(text), ours]);
    }),
  );
  assert.deepEqual(
    JSON.parse(textOf(listFrom('{"cniVersion":"0.3.1","name":"net","type":"bridge"}\n'))),
    {
      cniVersion: "0.3.1",
      name: "net",
      plugins: [{ cniVersion: "0.3.1", name: "net", type: "bridge" }, ours],
    },
  );
});

for (const [what, text, expected] of [
  [
    "an older entry of ours",
    '{"plugins":[{"type":"a"},{"type":"chaperone"}]}',
    [{ type: "a" }, ours],
  ],
  [
    "ours twice",
    `{"plugins":[{"type":"chaperone"},{"type":"a"},${JSON.stringify(ours)}]}`,
    [{ type: "a" }, ours],
  ],
  [
    "ours before the one that makes the network",
    `{"plugins":[${JSON.stringify(ours)},{"type":"a"}]}`,
    [{ type: "a" }, ours],
  ],
  [
    "the member twice, of which the last counts",
    '{"plugins":[1],"plugins":[{"type":"a"}]}',
    [{ type: "a" }, ours],
  ],
  [
    "keys and strings that look like others",
    '{"x":"\\"plugins\\":[","pl\\u0075gins":[{"type":"a\\\\"}]}',
    [{ type: "a\\" }, ours],
  ],
] as const)
  test(`${what}: there is one of ours afterwards, at the end`, () => {
    assert.deepEqual(pluginsIn(textOf(chained(text))), expected);
  });

for (const [what, text] of [
  ["no JSON", "{"],
  ["no list", '{"plugins":{}}'],
  ["an empty one", '{"plugins":[]}'],
  ["one with nothing but ours", '{"plugins":[{"type":"chaperone"}]}'],
  ["an array", "[]"],
])
  test(`${what} is left alone, with a reason`, () => {
    assert.ok("refused" in chained(text ?? ""));
    assert.ok("refused" in listFrom("[]"));
  });
