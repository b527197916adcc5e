// People with certificates of the cluster's own, and their command line: `kubectl chaperone`, as they would type it.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";
import { command, until } from "../cluster/command.ts";
import { toolPath } from "../cluster/kubectl.ts";
import { config, create, kubectl, soonMs, type KubeObject } from "./cluster.ts";

const root = path.join(import.meta.dirname, "../..");

/** Holding waits 50 s for a decision; nobody's command line waits longer. */
const commandTimeoutMs = 90_000;

export interface PersonAtWork {
  readonly user: string;
  /** `kubectl chaperone ARGS` in the test's namespace; standard output. */
  chaperone(...args: readonly string[]): Promise<string>;
}

/** A person whom the API server knows by a client certificate, with these ClusterRoles in the namespace. */
export async function person(
  t: TestContext,
  namespace: string,
  user: string,
  {
    groups = [],
    roles = [],
    everywhere = [],
  }: {
    readonly groups?: readonly string[];
    readonly roles?: readonly string[];
    /** Roles in every namespace. */
    readonly everywhere?: readonly string[];
  },
): Promise<PersonAtWork> {
  const folder = mkdtempSync(path.join(tmpdir(), "chaperone-e2e-person-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const kubeconfig = await certified(folder, namespace, user, groups);
  for (const role of roles) await create(binding(namespace, user, role));
  for (const role of everywhere) {
    const name = `${namespace}-${user}-${role}`;
    await create({
      ...binding(namespace, user, role),
      kind: "ClusterRoleBinding",
      metadata: { name },
    });
    t.after(() => kubectl(["delete", "clusterrolebinding", name]));
  }
  const bin = path.join(folder, "bin");
  mkdirSync(bin);
  symlinkSync(path.join(root, "dist/chaperone.mjs"), path.join(bin, "kubectl-chaperone"));
  // The program is started by `env node`, as an installed one.
  const PATH = [bin, path.dirname(process.execPath), process.env["PATH"]].join(":");
  return {
    user,
    chaperone: (...args) =>
      command(toolPath(config, "kubectl"), ["chaperone", ...args], {
        env: { PATH, KUBECONFIG: kubeconfig },
        timeoutMs: commandTimeoutMs,
      }),
  };
}

async function certified(
  folder: string,
  namespace: string,
  user: string,
  groups: readonly string[],
): Promise<string> {
  const file = (name: string): string => path.join(folder, name);
  const subject = `/${groups.map((group) => `O=${group}/`).join("")}CN=${user}`;
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  execFileSync(
    "openssl",
    ["req", ...key, "-keyout", file("key"), "-out", file("csr"), "-subj", subject],
    { stdio: "ignore" },
  );
  const name = path.basename(folder).toLowerCase();
  await create({
    apiVersion: "certificates.k8s.io/v1",
    kind: "CertificateSigningRequest",
    metadata: { name },
    spec: {
      request: readFileSync(file("csr")).toString("base64"),
      signerName: "kubernetes.io/kube-apiserver-client",
      usages: ["client auth"],
      expirationSeconds: 3_600,
    },
  });
  await kubectl(["certificate", "approve", name]);
  let certificate = "";
  await until(`the certificate of ${user}`, soonMs, async () => {
    certificate = await kubectl(["get", "csr", name, "-o", "jsonpath={.status.certificate}"]);
    return certificate !== "";
  });
  await kubectl(["delete", "csr", name]);
  const mine = JSON.parse(await kubectl(["config", "view", "--raw", "--minify", "-o", "json"]));
  const kubeconfig = {
    ...mine,
    users: [
      {
        name: user,
        user: {
          "client-certificate-data": certificate,
          "client-key-data": readFileSync(file("key")).toString("base64"),
        },
      },
    ],
    contexts: [{ name: user, context: { cluster: mine.clusters[0].name, user, namespace } }],
    "current-context": user,
  };
  writeFileSync(file("kubeconfig"), JSON.stringify(kubeconfig), { mode: 0o600 });
  return file("kubeconfig");
}

function binding(namespace: string, user: string, role: string): KubeObject {
  return {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "RoleBinding",
    metadata: { name: `${user}-${role}`, namespace },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: role },
    subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: user }],
  };
}
