import assert from "node:assert/strict";
import { test } from "node:test";
import fastJsonPatch, { type Operation } from "fast-json-patch";
import fastify from "fastify";
import type { AccessQuestion, AccessUser } from "../kube/access.ts";
import type { EventBody } from "../../contract/event.ts";
import { fieldAt, textAt, type JsonObject } from "../kube/objects.ts";
import { annotated, contextOf, ordersDb, rolesDb, podOf, settings } from "./fixture.ts";
import { createWebhookRoutes, type WebhookOptions } from "./webhook.ts";

const now = Date.parse("2026-01-01T00:00:00Z");
const alice = { username: "alice", uid: "u-1", groups: ["finance-leads", "system:authenticated"] };

interface Answer {
  readonly allowed: boolean;
  readonly message: string;
  readonly code: unknown;
  readonly patch: unknown;
  readonly warnings: unknown;
}

async function ask(
  path: string,
  request: JsonObject,
  changes: Partial<WebhookOptions> = {},
): Promise<Answer> {
  const app = fastify({ logger: false });
  await app.register(
    createWebhookRoutes({
      settings: () => settings,
      view: contextOf().view,
      isSynced: () => true,
      access: { may: async () => true },
      isInjected: (namespace, name) => namespace === "agents" && name === "agent",
      record: () => undefined,
      now: () => now,
      ...changes,
    }),
  );
  const payload = {
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    request: { uid: "r-1", operation: "CREATE", namespace: "agents", userInfo: alice, ...request },
  };
  const reply = await app.inject({ method: "POST", url: path, payload });
  assert.equal(reply.statusCode, 200);
  const body: unknown = reply.json();
  assert.equal(fieldAt(body, "kind"), "AdmissionReview");
  const response = fieldAt(body, "response");
  assert.equal(fieldAt(response, "uid"), "r-1");
  const patch = fieldAt(response, "patch");
  return {
    allowed: fieldAt(response, "allowed") === true,
    message: textAt(response, "status", "message") ?? "",
    code: fieldAt(response, "status", "code"),
    patch:
      typeof patch === "string"
        ? JSON.parse(Buffer.from(patch, "base64").toString("utf8"))
        : undefined,
    warnings: fieldAt(response, "warnings"),
  };
}

const pods = { resource: { group: "", version: "v1", resource: "pods" } };
const ofKind = (resource: string): JsonObject => ({
  resource: { group: "chaperone.dev", version: "v1alpha1", resource },
});
const refuse = (verb: string) => ({
  may: async (_user: AccessUser, question: AccessQuestion) => question.verb !== verb,
});

test("a labelled pod is patched, and its warnings are told", async () => {
  const answer = await ask("/mutate", { ...pods, object: podOf() });
  assert.equal(answer.allowed, true);
  assert.ok(Array.isArray(answer.patch) && answer.patch.length > 3);
});

test("what says who made a pod does not wipe out what injection wrote, whether the pod had annotations or not", async () => {
  const { metadata, ...rest } = podOf() as { metadata: JsonObject } & JsonObject;
  const { annotations: _, ...bare } = metadata;
  for (const object of [{ ...rest, metadata: bare }, annotated({ team: "data" })]) {
    const { patch } = await ask("/mutate", { ...pods, object });
    const made = fastJsonPatch.applyPatch(
      structuredClone(object),
      patch as Operation[],
    ).newDocument;
    const written = fieldAt(made, "metadata", "annotations");
    assert.equal(textAt(written, "chaperone.dev/deployed-by"), "alice");
    assert.equal(textAt(written, "chaperone.dev/version"), settings.version);
    assert.notEqual(textAt(written, "chaperone.dev/addresses"), undefined);
  }
});

test("a refused pod is answered with its reason and sentence, not with a failure", async () => {
  const answer = await ask("/mutate", { ...pods, object: podOf({ hostPID: true }) });
  assert.equal(answer.allowed, false);
  assert.match(answer.message, /^HostPID: spec\.hostPID: .*remove hostPID/);
  assert.equal(answer.code, 403);
});

test("before the Connections are known no pod is admitted", async () => {
  const answer = await ask("/mutate", { ...pods, object: podOf() }, { isSynced: () => false });
  assert.match(answer.message, /chaperone is starting/);
});

test("the namespace of the request counts, for controllers leave it out of the pod", async () => {
  const answer = await ask("/mutate", { ...pods, namespace: "elsewhere", object: podOf() });
  assert.match(String(answer.warnings), /no Connection in namespace elsewhere/);
});

test("a failure inside is an answer that says to try again", async () => {
  const answer = await ask(
    "/mutate",
    { ...pods, object: podOf() },
    {
      settings: () => {
        throw new Error("boom");
      },
    },
  );
  assert.equal(answer.allowed, false);
  assert.equal(answer.code, 503);
  assert.doesNotMatch(answer.message, /boom/);
});

test("what is no review is answered with 400", async () => {
  const app = fastify({ logger: false });
  await app.register(
    createWebhookRoutes({
      settings: () => settings,
      view: contextOf().view,
      isSynced: () => true,
      access: { may: async () => true },
      isInjected: () => false,
      record: () => undefined,
      now: () => now,
    }),
  );
  for (const payload of [{}, { apiVersion: "admission.k8s.io/v1", request: { uid: 7 } }])
    assert.equal((await app.inject({ method: "POST", url: "/mutate", payload })).statusCode, 400);
});

test("all errors of an object come at once", async () => {
  const object = {
    ...ordersDb,
    spec: { ...ordersDb.spec, hosts: ["localhost"], inject: { env: { "1BAD": "${nothing}" } } },
  };
  const answer = await ask("/validate", { ...ofKind("connections"), object });
  assert.equal(answer.code, 422);
  assert.match(answer.message, /^\d problems:\n- spec\./);
});

test("a label on an object that newer rules would refuse is let through", async () => {
  const stored = { ...ordersDb, spec: { ...ordersDb.spec, hosts: ["localhost"] } };
  const object = { ...stored, metadata: { ...stored.metadata, labels: { team: "data" } } };
  const answer = await ask("/validate", {
    ...ofKind("connections"),
    operation: "UPDATE",
    object,
    oldObject: stored,
  });
  assert.equal(answer.allowed, true);
});

test("who may not read a Secret may not hand it to a Connection, nor send it elsewhere later", async () => {
  const request = { ...ofKind("connections"), object: ordersDb };
  const created = await ask("/validate", request, { access: refuse("get") });
  assert.match(created.message, /alice may not get Secret orders-db in namespace agents/);
  const tls = { mode: "VerifyFull", clientCertificateSecretRef: { name: "pg-client" } };
  const proven = { ...ordersDb, spec: { ...ordersDb.spec, endpoint: { host: "db", tls } } };
  const certified = await ask(
    "/validate",
    { ...ofKind("connections"), object: proven },
    { access: refuse("get") },
  );
  assert.match(
    certified.message,
    /spec.endpoint.tls.clientCertificateSecretRef: alice may not get Secret pg-client/,
  );
  const moved = {
    ...ordersDb,
    spec: { ...ordersDb.spec, endpoint: { host: "evil.example", tls: { mode: "VerifyFull" } } },
  };
  const updated = await ask(
    "/validate",
    { ...request, operation: "UPDATE", object: moved, oldObject: ordersDb },
    { access: refuse("get") },
  );
  assert.equal(updated.allowed, false);
  assert.equal((await ask("/validate", request)).allowed, true);
});

test("the login that makes roles is asked about as any other Secret", async () => {
  const request = { ...ofKind("connections"), object: rolesDb };
  const created = await ask("/validate", request, { access: refuse("get") });
  assert.match(
    created.message,
    /spec\.credential\.postgresRole\.adminSecretRef: alice may not get Secret roles-admin/,
  );
  assert.equal((await ask("/validate", request)).allowed, true);
});

test("nobody forwards ports of a pod that has a proxy; other pods are not our business", async () => {
  const forward = (name: string): JsonObject => ({
    ...pods,
    subResource: "portforward",
    operation: "CONNECT",
    name,
    object: { kind: "PodPortForwardOptions", apiVersion: "v1" },
  });
  const recorded: unknown[] = [];
  const record = (type: string, { error }: EventBody): void =>
    void recorded.push([type, error?.code]);
  const refused = await ask("/validate", forward("agent"), { record });
  assert.equal(refused.allowed, false);
  assert.match(refused.message, /alice may not forward ports of pod agents\/agent/);
  assert.equal((await ask("/validate", forward("other"), { record })).allowed, true);
  assert.deepEqual(recorded, [["error", "PortForwardRefused"]]);
});

test("an access session belongs to its author for ten minutes", async () => {
  const object = {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessSession",
    metadata: { name: "s", namespace: "agents" },
    spec: { publicKey: {}, user: { username: "mallory" } },
  };
  const request = { ...ofKind("accesssessions"), object };
  const answer = await ask("/stamp", request);
  const user = { username: "alice", uid: "u-1", groups: alice.groups };
  assert.deepEqual(answer.patch, [
    { op: "add", path: "/spec/user", value: user },
    { op: "add", path: "/spec/expiresAt", value: "2026-01-01T00:10:00.000Z" },
  ]);
  const spec = { publicKey: {}, user, expiresAt: "2026-01-01T00:10:00.000Z" };
  assert.equal((await ask("/validate", { ...request, object: { ...object, spec } })).allowed, true);
  assert.equal((await ask("/validate", request)).allowed, false);
  const metadata = { ...object.metadata, annotations: { filler: "x".repeat(200_000) } };
  const large = await ask("/validate", { ...request, object: { ...object, metadata, spec } });
  assert.match(large.message, /annotations and labels of an access session take 200013 bytes/);
});

test("an interception that does not exist is named in the answer", async () => {
  const pod = annotated({ "chaperone.dev/interception": "magic" });
  const answer = await ask("/mutate", { ...pods, object: pod });
  assert.match(answer.message, /interception is endpoints, hosts or redirect/);
});
