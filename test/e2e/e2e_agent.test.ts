import assert from "node:assert/strict";
import { test } from "node:test";
import { worldFor, type Reply } from "./world.ts";

for (const interception of ["hosts", "endpoints"] as const)
  test(`an agent under ${interception} reads with a mask, is refused what it may not, and talks to its model`, async (t) => {
    const world = await worldFor(t, interception, { interception });
    const { rows } = await world.sql("SELECT id, name, ssn FROM customers ORDER BY id");
    assert.deepEqual(rows[0], { id: 1, name: "Ada Lovelace", ssn: "*******6789" });
    const refused = await world.refusedSql("DROP TABLE customers");
    assert.equal(refused.code, "42501");
    assert.match(refused.message, /Deletions go through the data team's ticket queue/);
    assert.equal((await world.sql("SELECT count(*) FROM orders")).rows.length, 1);
    const base = (await world.order<Record<string, string>>("/env")).done?.["OPENAI_BASE_URL"];
    const reply = await world.order<Reply>("/fetch", {
      url: `${base}/chat/completions`,
      init: {
        method: "POST",
        headers: { "content-type": "application/json", authorization: "Bearer held-by-chaperone" },
        body: JSON.stringify({ model: "gpt-5-mini", messages: [{ role: "user", content: "hi" }] }),
      },
    });
    assert.equal(reply.done?.status, 200, JSON.stringify(reply));
    assert.match(reply.done.body, /I have nothing to say to that/);
  });
