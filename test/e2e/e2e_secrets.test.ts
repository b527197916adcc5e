// Invariant: no container of the agent ever sees an upstream credential or the projected token, wherever it looks.
import assert from "node:assert/strict";
import { test } from "node:test";
import { exec, kubectl, list, operatorNamespace, refusedBy } from "./cluster.ts";
import { worldFor, type Reply } from "./world.ts";

/** Reads what a process of the agent can read: its own file system, every process it sees, the environment of all. */
const search = `
const {readdirSync, readFileSync, lstatSync} = require("node:fs");
const needles = JSON.parse(process.argv[1]).map((text) => Buffer.from(text));
// Libraries of the image hold keys for their own self-tests.
const skip = new Set(["/usr/lib", "/proc/kcore", "/proc/kmsg", "/sys", "/usr/local/bin", "/proc/self", "/proc/thread-self", "/proc/" + process.pid]);
const found = [];
let files = 0;
function look(path, depth) {
  if (skip.has(path) || depth > 12) return;
  let stat;
  try { stat = lstatSync(path); } catch { return; }
  if (stat.isSymbolicLink()) return;
  if (stat.isDirectory()) {
    let names = [];
    try { names = readdirSync(path); } catch { return; }
    for (const name of names) look(path === "/" ? "/" + name : path + "/" + name, depth + 1);
    return;
  }
  if (!stat.isFile() || stat.size > 32 * 1024 * 1024) return;
  if (path.startsWith("/proc/") && !/\\/(environ|cmdline|mountinfo)$/.test(path)) return;
  let content;
  try { content = readFileSync(path); } catch { return; }
  files += 1;
  if (needles.some((needle) => content.includes(needle))) found.push(path);
}
look("/", 0);
console.log(JSON.stringify({files, found}));
`;

test("no container of the agent finds a credential, the token or the pod's CA key", async (t) => {
  const world = await worldFor(t, "secrets");
  await world.sql("SELECT 1"); // the proxy holds a lease by now
  const { password, apiKey } = world.upstreams;
  const needles = [
    password,
    apiKey,
    Buffer.from(password).toString("base64"),
    Buffer.from(apiKey).toString("base64"),
    "PRIVATE KEY-----\nM",
  ];
  const said = await exec(
    world.namespace,
    "agent",
    "agent",
    "node",
    "-e",
    search,
    JSON.stringify(needles),
  );
  const { files, found } = JSON.parse(said) as {
    readonly files: number;
    readonly found: readonly string[];
  };
  assert.ok(files > 500, `looked at ${files} files only`);
  assert.deepEqual(found, []);
  const control = await exec(
    world.namespace,
    "agent",
    "agent",
    "node",
    "-e",
    search,
    JSON.stringify(["held-by-chaperone"]),
  );
  assert.match(control, /\/proc\/1\/environ/); // the search does find what is there
  await refusedBy(exec(world.namespace, "agent", "agent", "ls", "/var/run/secrets/chaperone"));
  await refusedBy(exec(world.namespace, "agent", "agent", "ls", "/var/run/chaperone/ca"));
  await refusedBy(
    exec(world.namespace, "agent", "agent", "sh", "-c", "echo x >> /etc/chaperone/trust/ca.crt"),
  );
  const processes = await exec(
    world.namespace,
    "agent",
    "agent",
    "sh",
    "-c",
    "cat /proc/[0-9]*/cmdline | tr '\\0' ' '",
  );
  assert.doesNotMatch(processes, /proxy\.mjs/);
});

test("the agent's own service account reads no Secret and makes no token for the proxy's audience", async (t) => {
  const world = await worldFor(t, "api");
  const token = "/var/run/secrets/kubernetes.io/serviceaccount/token";
  const bearer = await exec(world.namespace, "agent", "agent", "cat", token);
  const claims: unknown = JSON.parse(
    Buffer.from(bearer.split(".")[1] ?? "", "base64url").toString("utf8"),
  );
  assert.ok(!JSON.stringify(Object(claims).aud).includes("chaperone.dev"));
  const as = { user: `system:serviceaccount:${world.namespace}:invoice-agent` };
  await refusedBy(kubectl(["--namespace", world.namespace, "get", "secret", "orders-db"], { as }));
});

test("the proxy's admin port tells no secret and no host name, and the upstream's answers name neither", async (t) => {
  const world = await worldFor(t, "admin");
  await world.sql("SELECT 1");
  const { done } = await world.order<Reply>("/fetch", { url: "http://127.0.0.1:15020/metrics" });
  assert.equal(done?.status, 200);
  assert.doesNotMatch(done.body, /svc\.cluster\.local|api\.openai\.com/);
  for (const path of ["healthz", "readyz"])
    assert.equal(
      (await world.order<Reply>("/fetch", { url: `http://127.0.0.1:15020/${path}` })).done?.status,
      200,
    );
  const posted = await world.order<Reply>("/fetch", {
    url: "http://127.0.0.1:15020/metrics",
    init: { method: "POST" },
  });
  assert.equal(posted.done?.status, 405);
});

test("nothing the system wrote holds a credential: logs, events, statuses", async (t) => {
  const world = await worldFor(t, "written");
  await world.sql("SELECT id, name, ssn FROM customers");
  await world.refusedSql("DROP TABLE customers");
  const texts = [
    await kubectl([
      "--namespace",
      world.namespace,
      "logs",
      "agent",
      "--container",
      "chaperone-proxy",
    ]),
    await kubectl(["--namespace", operatorNamespace, "logs", "deployment/chaperone"]),
    ...(await Promise.all(
      ["connections", "accesspolicies", "accessrequests", "pods", "events"].map(async (resource) =>
        JSON.stringify(await list(world.namespace, resource)),
      ),
    )),
  ];
  for (const text of texts)
    for (const secret of [world.upstreams.password, world.upstreams.apiKey, "123-45-6789"])
      assert.ok(!text.includes(secret), `${secret.slice(0, 3)}… is in ${text.slice(0, 80)}`);
});
