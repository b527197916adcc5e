// `CLUSTER=kind make cluster`, without Docker: stand-ins for docker, kind, kubectl and helm write down how they are called.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";

const cluster = path.join(import.meta.dirname, "../cluster");

/** Each writes down its call; a file with the call's name makes it fail with what the file says. */
const head = `#!/bin/sh
tool=\${0##*/}
echo "$tool $*" >>"$STAND_INS/calls"
if [ -f "$STAND_INS/$tool $1 fails" ]; then cat "$STAND_INS/$tool $1 fails" >&2; exit 1; fi
`;
const standIns = {
  docker: `case "$1" in
build) echo "attestations: $BUILDX_NO_DEFAULT_ATTESTATIONS" >>"$STAND_INS/calls";;
save) echo an archive >"$3";;
esac
`,
  kind: `case "$1 $2" in
"get clusters") cat "$STAND_INS/clusters" 2>/dev/null || echo "No kind clusters found." >&2;;
"create cluster") echo chaperone >"$STAND_INS/clusters"; rm -f "$STAND_INS/kubectl wait fails";;
"delete cluster") rm -f "$STAND_INS/clusters";;
esac
`,
  kubectl: `case "$*" in *" wait "*) [ ! -f "$STAND_INS/kubectl wait fails" ] || exit 1;; esac
echo default
`,
  helm: "",
} as const;

type Tool = keyof typeof standIns;

interface Machine {
  readonly run: (program: string, ...args: string[]) => Promise<Ended>;
  readonly calls: () => Promise<readonly string[]>;
  readonly remove: (tool: Tool | "flock") => Promise<void>;
  /** From now on; a node is ready once it is created anew. */
  readonly fail: (call: string, saying: string) => Promise<void>;
  readonly have: (clusters: readonly string[]) => Promise<void>;
  readonly kubeconfig: string;
  readonly folder: string;
}

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A PATH with nothing on it but the stand-ins, a shell and what the lock takes. */
async function machine(
  t: TestContext,
  settings: Readonly<Record<string, string>> = {},
): Promise<Machine> {
  const folder = await mkdtemp(path.join(tmpdir(), "chaperone-kind-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const bin = path.join(folder, "bin");
  await mkdir(bin);
  for (const [tool, text] of Object.entries(standIns)) {
    await writeFile(path.join(bin, tool), head + text);
    await chmod(path.join(bin, tool), 0o755);
  }
  for (const tool of ["flock", "sh", "cat", "rm"]) {
    const found = ["/usr/bin", "/bin"].map((place) => path.join(place, tool)).find(existsSync);
    if (found !== undefined) await symlink(found, path.join(bin, tool));
  }
  const env = {
    PATH: bin,
    CLUSTER: "kind",
    XDG_CACHE_HOME: folder,
    STAND_INS: folder,
    ...settings,
  };
  return {
    folder,
    kubeconfig: path.join(folder, "chaperone/cluster/kubeconfig-kind"),
    run: (program, ...args) =>
      new Promise((resolve) => {
        const file = path.join(cluster, program);
        const child = execFile(process.execPath, [file, ...args], { env }, (_, stdout, stderr) =>
          resolve({ code: child.exitCode ?? -1, stdout, stderr }),
        );
      }),
    calls: async () =>
      (await readFile(path.join(folder, "calls"), "utf8").catch(() => "")).trimEnd().split("\n"),
    remove: (tool) => rm(path.join(bin, tool)),
    fail: (call, saying) => writeFile(path.join(folder, `${call} fails`), saying),
    have: (clusters) => writeFile(path.join(folder, "clusters"), `${clusters.join("\n")}\n`),
  };
}

const created = (calls: readonly string[]): string | undefined =>
  calls.find((call) => call.startsWith("kind create"));

test("a cluster is created, waited for and named, with kind's own node image", async (t) => {
  const { run, calls, kubeconfig } = await machine(t);
  const { code, stdout, stderr } = await run("up.ts");
  assert.equal(code, 0, stderr);
  assert.equal(stdout, `export KUBECONFIG="${kubeconfig}"\n`);
  const made = await calls();
  assert.equal(
    created(made),
    `kind create cluster --name chaperone --kubeconfig ${kubeconfig}`,
    "kind's own --wait ends well with a node that is not ready",
  );
  const after = made.slice(made.indexOf(created(made) ?? "") + 1);
  assert.deepEqual(after, [
    `kubectl --kubeconfig ${kubeconfig} --request-timeout=5s wait node --all --for=condition=Ready --timeout=5s`,
    `kubectl --kubeconfig ${kubeconfig} get serviceaccount default`,
  ]);
});

test("KIND_NODE_IMAGE names the node image", async (t) => {
  const { run, calls } = await machine(t, { KIND_NODE_IMAGE: "kindest/node:v1.30.13" });
  const { code, stderr } = await run("up.ts");
  assert.equal(code, 0, stderr);
  assert.match(created(await calls()) ?? "", / --image kindest\/node:v1\.30\.13$/);
});

test("a cluster that is up stays as it is", async (t) => {
  const { run, calls, have, kubeconfig } = await machine(t);
  await have(["another", "chaperone"]);
  const { code, stdout, stderr } = await run("up.ts");
  assert.equal(code, 0, stderr);
  assert.match(stderr, /the cluster is already up/);
  assert.equal(stdout, `export KUBECONFIG="${kubeconfig}"\n`);
  assert.ok(!(await calls()).some((call) => /^kind (create|delete)/.test(call)));
});

test("a cluster that does not answer is removed before a new one is created", async (t) => {
  const { run, calls, have, fail } = await machine(t);
  await have(["chaperone"]);
  await fail("kubectl wait", "");
  const { code, stderr } = await run("up.ts");
  assert.equal(code, 0, stderr);
  const order = (await calls()).filter((call) => /^kind (create|delete)/.test(call));
  assert.deepEqual(
    order.map((call) => call.split(" ")[1]),
    ["delete", "create"],
  );
});

test("where Docker does not run, that is said first, with what Docker says, and nothing is created", async (t) => {
  const { run, calls, fail } = await machine(t);
  await fail("docker info", "Cannot connect to the Docker daemon");
  for (const program of ["up.ts", "down.ts"]) {
    const { code, stderr } = await run(program);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^CLUSTER=kind needs a working `docker`: see to it that `docker info` ends well$/m,
    );
    assert.match(stderr, /Cannot connect to the Docker daemon/);
  }
  assert.deepEqual(await calls(), ["docker info", "docker info"]);
});

for (const tool of ["docker", "kind", "kubectl", "helm"] as const)
  test(`where ${tool} is not installed, it is named and nothing is created`, async (t) => {
    const { run, calls, remove } = await machine(t);
    await remove(tool);
    const { code, stderr } = await run("up.ts");
    assert.equal(code, 1);
    assert.match(
      stderr,
      new RegExp(`CLUSTER=kind needs \`${tool}\`: install it and put it on the PATH`),
    );
    assert.equal(created(await calls()), undefined);
  });

test("taking it down removes the cluster and its kubeconfig, and takes neither kubectl nor helm", async (t) => {
  const { run, calls, have, remove, kubeconfig } = await machine(t);
  await have(["chaperone"]);
  await remove("kubectl");
  await remove("helm");
  await mkdir(path.dirname(kubeconfig), { recursive: true });
  await writeFile(kubeconfig, "");
  const { code, stderr } = await run("down.ts");
  assert.equal(code, 0, stderr);
  assert.ok(!existsSync(kubeconfig));
  assert.ok(
    (await calls()).includes(`kind delete cluster --name chaperone --kubeconfig ${kubeconfig}`),
  );
});

test("where there is no flock, as on macOS, it works without and says so", async (t) => {
  const { run, remove } = await machine(t);
  await remove("flock").catch(() => undefined);
  const { code, stderr } = await run("up.ts");
  assert.equal(code, 0, stderr);
  assert.match(stderr, /no flock on the PATH/);
});

test("an image is built by Docker as one that kind can load, and loaded where the cluster is there", async (t) => {
  const { run, calls, have, folder } = await machine(t);
  const archive = path.join(folder, "chaperone/cluster/archives/localhost-test-1.tar");
  const without = await run("images.ts", "build", "localhost/test:1", folder);
  assert.equal(without.code, 0, without.stderr);
  assert.match(without.stderr, /no cluster is running to take it/);
  assert.equal(without.stdout, `${archive}\n`);
  await have(["chaperone"]);
  const { code, stderr } = await run("images.ts", "build", "localhost/test:1", folder);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /it is in the cluster/);
  assert.deepEqual((await calls()).slice(-5), [
    `docker build --tag localhost/test:1 --file ${path.join(folder, "Dockerfile")} ${folder}`,
    "attestations: 1",
    `docker save --output ${archive} localhost/test:1`,
    "kind get clusters",
    `kind load image-archive ${archive} --name chaperone`,
  ]);
});
