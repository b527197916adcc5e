// Who may write what: authors and the Secrets they name, approvers and their decisions, people and their sessions.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { after, before, test } from "node:test";
import {
  apply,
  create,
  dryRun,
  kubectl,
  namespaceOf,
  operatorNamespace,
  refusedBy,
  type KubeObject,
} from "./cluster.ts";
import { asRecord, spec } from "./read.ts";
import { connections, ordersPolicy } from "./world.ts";

const namespace = "e2e-admit-people";
const author = { user: "annie" };
const owner = { user: "olga" };

before(async () => {
  await namespaceOf(namespace, "restricted");
  await apply(
    binding("authors", "chaperone-author", [author.user, owner.user]),
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "Role",
      metadata: { name: "secrets", namespace },
      rules: [{ apiGroups: [""], resources: ["secrets"], verbs: ["get"] }],
    },
    binding("secrets", "secrets", [owner.user], "Role"),
  );
});
after(async () => {
  await kubectl(["delete", "namespace", namespace, "--wait=false"]);
});

function binding(
  name: string,
  role: string,
  users: readonly string[],
  kind = "ClusterRole",
): KubeObject {
  return {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "RoleBinding",
    metadata: { name, namespace },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind, name: role },
    subjects: users.map((user) => ({
      apiGroup: "rbac.authorization.k8s.io",
      kind: "User",
      name: user,
    })),
  };
}

const ordersDb: KubeObject = { ...connections[0], metadata: { name: "orders-db", namespace } };

test("an author who may not read a Secret may not hand it to a Connection; one who may, does", async () => {
  const said = await refusedBy(dryRun(ordersDb, { as: author }));
  assert.match(said, /annie may not get Secret orders-db in namespace e2e-admit-people/);
  assert.match(said, /spec\.endpoint\.tls\.caSecretRef: annie may not get Secret upstream-ca/);
  await dryRun(ordersDb, { as: owner });
});

const policyWith = (...rules: readonly KubeObject[]): KubeObject => ({
  ...ordersPolicy({ rules }),
  metadata: { name: "wrong", namespace },
});

test("everything that is wrong with the conditions of a policy is said at once", async () => {
  const said = await refusedBy(
    dryRun(
      policyWith(
        { name: "odd", action: "Allow", when: "sql.nothing == 1" },
        { name: "text", action: "Allow", sql: { statements: ["select"] }, when: "'yes'" },
      ),
    ),
  );
  assert.match(said, /2 problems:/);
  assert.match(said, /spec\.rules\[0\]\.when: /);
  assert.match(said, /spec\.rules\[1\]\.when: /);
});

test("a rule that another one of the same policy makes unreachable is refused", async () => {
  const said = await refusedBy(
    dryRun(
      policyWith(
        { name: "all", action: "Deny" },
        { name: "never", action: "Allow", sql: { statements: ["select"] } },
      ),
    ),
  );
  assert.match(said, /spec\.rules\[1\]/);
});

test("nobody but the operator opens an access request, not even an administrator", async () => {
  const request = {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessRequest",
    metadata: { name: "mine", namespace },
    spec: {
      requester: { namespace, serviceAccount: "a", pod: "p", podUid: "u" },
      connection: "orders-db",
      policies: [{ name: "p", rule: "r", approvers: [{ user: "me" }], count: 1 }],
      digest: `sha256-${"A".repeat(43)}`,
      kind: "sql",
      summary: "DROP",
      session: "s",
      openedAt: "2026-01-01T00:00:00Z",
      expiresAt: "2036-01-01T00:00:00Z",
      validFor: "10m",
    },
  };
  assert.match(
    await refusedBy(dryRun(request)),
    /opened by the operator when an agent's operation is held/,
  );
});

test("an access session says who the API server says, for anybody who is authenticated", async () => {
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { kty, crv, x, y } = publicKey.export({ format: "jwk" });
  const session = {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessSession",
    metadata: { generateName: "e2e-", namespace: operatorNamespace },
    spec: { publicKey: { kty, crv, x, y }, user: { username: "root", groups: ["system:masters"] } },
  };
  const person = { user: "carla", groups: ["auditors", "system:authenticated"] };
  const made = spec(await dryRun(session, { as: person }));
  const user = asRecord(made["user"]);
  assert.equal(user["username"], "carla");
  assert.deepEqual(user["groups"], ["auditors", "system:authenticated"]);
  const lifeMs = Date.parse(String(made["expiresAt"])) - Date.now();
  assert.ok(lifeMs > 9 * 60_000 && lifeMs <= 10 * 60_000);
});

test("the roles for people stay out of admin, edit and view", async () => {
  const roles = await kubectl(["get", "clusterroles", "admin", "edit", "view", "-o", "json"]);
  assert.doesNotMatch(roles, /chaperone\.dev/);
});

test("an author may not quarantine, and a responder may", async () => {
  await create(binding("responders", "chaperone-responder", ["rosa"]));
  const quarantine = {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "Quarantine",
    metadata: { name: "q", namespace },
    spec: { all: true, reason: "a drill" },
  };
  assert.match(
    await refusedBy(dryRun(quarantine, { as: author })),
    /cannot create resource "quarantines"/,
  );
  await dryRun(quarantine, { as: { user: "rosa" } });
});
