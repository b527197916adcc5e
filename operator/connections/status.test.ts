import assert from "node:assert/strict";
import { test } from "node:test";
import type { Connection } from "../../crds/types.gen.ts";
import { connectionStatus, type ConnectionFacts } from "./status.ts";

const now = Date.parse("2026-11-21T10:00:00Z");

function connection(name: string, status?: Connection["status"]): Connection {
  return {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "Connection",
    metadata: { name, namespace: "agents", generation: 1 },
    spec: {
      protocol: "postgres",
      endpoint: { host: "db.example", port: 5432 },
      onFailure: "closed",
    },
    ...(status === undefined ? {} : { status }),
  };
}

function facts(change: Partial<ConnectionFacts> = {}): ConnectionFacts {
  return {
    connection: connection("a"),
    siblings: [],
    credential: undefined,
    probe: { result: { reason: "Reachable", message: "fine" }, at: now },
    activeGrants: 2,
    roles: { problem: undefined, notes: [] },
    now,
    ...change,
  };
}

function ready(change: Partial<ConnectionFacts>): string {
  const [condition] = connectionStatus(facts(change)).conditions ?? [];
  return `${condition?.status} ${condition?.reason}`;
}

test("Ready names the first thing that is wrong: its address, its Secret, its upstream", () => {
  const unreachable = { result: { reason: "TlsUntrusted", message: "no" } as const, at: now };
  const credential = { reason: "SecretNotFound", message: "no" };
  assert.equal(ready({}), "True Ready");
  assert.equal(ready({ probe: unreachable }), "False TlsUntrusted");
  assert.equal(ready({ probe: unreachable, credential }), "False SecretNotFound");
  assert.equal(
    ready({ probe: unreachable, credential, siblings: [connection("b")] }),
    "False HostPortConflict",
  );
});

test("a probe that says the same is not written down each time", () => {
  const before = { time: new Date(now - 60_000).toISOString(), reachable: true, message: "fine" };
  assert.deepEqual(
    connectionStatus(facts({ connection: connection("a", { lastProbe: before }) })).lastProbe,
    before,
  );
  const old = { ...before, time: new Date(now - 600_000).toISOString() };
  assert.notDeepEqual(
    connectionStatus(facts({ connection: connection("a", { lastProbe: old }) })).lastProbe,
    old,
  );
  const broken = facts({
    connection: connection("a", { lastProbe: before }),
    probe: { result: { reason: "Timeout", message: "late" }, at: now },
  });
  assert.equal(connectionStatus(broken).lastProbe?.reachable, false);
});

test("a Connection that makes roles says whether they hold exactly what policies permit", () => {
  const making = connection("a");
  const of = {
    ...making,
    spec: {
      ...making.spec,
      credential: {
        postgresRole: {
          adminSecretRef: { name: "admin" },
          usernameKey: "username",
          passwordKey: "password",
        },
      },
    },
  };
  const said = (change: Partial<ConnectionFacts>): string[] =>
    (connectionStatus(facts(change)).conditions ?? []).map(
      ({ type, status, reason }) => `${type} ${status} ${reason}`,
    );
  const notes = ["PUBLIC holds SELECT on table public.leaky"];
  const problem = { reason: "AdminRefused", message: "no" };
  assert.deepEqual(said({ connection: of }), [
    "Ready True Ready",
    "PrivilegesGranted True AsPermitted",
  ]);
  assert.deepEqual(said({ connection: of, roles: { problem: undefined, notes } }), [
    "Ready True Ready",
    "PrivilegesGranted False NotAsPermitted",
  ]);
  assert.equal(
    said({ connection: of, roles: { problem, notes: [] } })[0],
    "Ready False AdminRefused",
  );
  assert.deepEqual(said({ roles: { problem, notes } }), ["Ready True Ready"]);
});
