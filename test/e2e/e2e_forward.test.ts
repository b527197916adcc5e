// The forward proxy in a real pod: clients that heed HTTPS_PROXY reach Connections by their hosts' own names, and nothing else.
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../cluster/command.ts";
import { soonMs } from "./cluster.ts";
import { person } from "./people.ts";
import { worldFor, type Reply } from "./world.ts";

const question = {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ model: "gpt-5-mini", messages: [{ role: "user", content: "hi" }] }),
};

test("an agent with HTTPS_PROXY reaches its model by the usual name, and a host of no Connection is refused and recorded", async (t) => {
  const world = await worldFor(t, "forward", {
    interception: "endpoints",
    annotations: { "chaperone.dev/forward-proxy": "true" },
    env: { NODE_USE_ENV_PROXY: "1" },
  });
  const reply = await world.order<Reply>("/fetch", {
    url: "https://api.openai.com/v1/chat/completions",
    init: question,
  });
  assert.equal(reply.done?.status, 200, JSON.stringify(reply));
  assert.match(reply.done.body, /I have nothing to say to that/);

  // Node's fetch says of a refused CONNECT only that it was; the event says why.
  for (const url of ["https://github.com/evil/gist", "http://169.254.169.254/latest"]) {
    const { done, failed } = await world.order<Reply>("/fetch", { url });
    assert.ok(failed !== undefined || done?.status === 403, JSON.stringify(done));
  }
  const auditor = await person(t, world.namespace, "anna", { roles: ["chaperone-auditor"] });
  await until("the refusals to arrive", soonMs, async () => {
    const events = await auditor.chaperone("events", "-o", "json");
    return ["HostUnknown", "github.com", "169.254.169.254"].every((one) => events.includes(one));
  });
});

test("without the annotation no variable names the forward proxy, and a usual name leads nowhere under endpoints", async (t) => {
  const world = await worldFor(t, "no-forward", { interception: "endpoints" });
  const { done = {} } = await world.order<Record<string, string>>("/env");
  assert.deepEqual(
    Object.keys(done).filter((name) => /_proxy$/i.test(name)),
    [],
  );
  const { failed } = await world.order<Reply>("/fetch", {
    url: "https://api.openai.com/v1/chat/completions",
    init: question,
  });
  assert.match(JSON.stringify(failed), /ENOTFOUND|EAI_AGAIN/);
});
