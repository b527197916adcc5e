// A NetworkPolicy for each namespace with agents: written when what it says changes, and belonging to the role that lets it be written.
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { connection } from "../injection/fixture.ts";
import { answeringApi, type Sent } from "../kube/answering-api.ts";
import { fieldAt, listAt, readObject, type KubeObject } from "../kube/objects.ts";
import { resourceTypes } from "../kube/resource-types.ts";
import { ObjectStore } from "../kube/store.ts";
import { typedReader, type Stored } from "../kube/typed.ts";
import { egressController } from "./controller.ts";

const role = "chaperone-operator-egress";
const roleCall = `GET /apis/rbac.authorization.k8s.io/v1/clusterroles/${role}`;
const read = typedReader("Connection");

function stored(
  name: string,
  host: string,
  namespace = "agents",
  version = 1,
): Stored<"Connection"> {
  const { spec } = connection(name, { protocol: "postgres", endpoint: { host, port: 5432 } });
  return read(
    readObject(
      {
        metadata: {
          name,
          namespace,
          uid: `${namespace}-${name}`,
          resourceVersion: `${version}`,
          generation: version,
        },
        spec,
      },
      resourceTypes.Connection,
    ),
  );
}

function injected(namespace: string, connections: readonly string[]): KubeObject {
  const addresses = {
    version: 1,
    interception: "endpoints",
    connections: connections.map((name, at) => ({
      connection: name,
      protocol: "postgres",
      scheme: "postgres",
      path: "",
      names: [],
      hosts: [],
      port: 5432,
      endpoint: { address: "127.0.0.1", port: 15_100 + at },
    })),
  };
  const annotations = { "chaperone.dev/addresses": JSON.stringify(addresses) };
  return readObject(
    { metadata: { name: "agent", namespace, uid: "pod", resourceVersion: "1", annotations } },
    resourceTypes.Pod,
  );
}

async function started(t: TestContext, names: Record<string, readonly string[]> = {}) {
  const api = await answeringApi(t, (call) =>
    call === roleCall ? { metadata: { uid: "role-uid" } } : {},
  );
  const byNamespace = { namespace: ({ metadata }: KubeObject) => [metadata.namespace ?? ""] };
  const fail = (error: unknown): void => assert.fail(String(error));
  const connections = new ObjectStore<Stored<"Connection">>(byNamespace, fail);
  const pods = new ObjectStore(byNamespace, fail);
  const start = (): void => {
    const controller = egressController({
      client: api.client,
      view: { connections: { store: connections }, pods: { store: pods } },
      resolve: async (host) => {
        const found = names[host];
        if (found === undefined) throw new Error(`no ${host}`);
        return found;
      },
      owner: role,
      operatorNamespace: "chaperone-system",
      operatorPort: 8443,
      resolvers: [],
      now: () => 0,
      random: () => 0.5,
      log: { warn: (details, event) => assert.fail(`${event} ${JSON.stringify(details)}`) },
    });
    api.closing(() => controller.close());
    controller.start();
  };
  return { api, connections, pods, names, start };
}

/** What is let out besides DNS and the operator. */
function out(sent: Sent | undefined): string {
  return JSON.stringify(listAt(fieldAt(sent?.body, "spec"), "egress").slice(2));
}

test("a namespace with Connections has a policy, which belongs to the role and follows them", async (t) => {
  const { api, connections, start } = await started(t);
  connections.put(stored("orders", "postgres.data.svc.cluster.local"));
  start();
  const [first] = await api.patched(1);
  assert.equal(
    first?.call,
    "PATCH /apis/networking.k8s.io/v1/namespaces/agents/networkpolicies/chaperone-agents?fieldManager=chaperone-egress&force=true",
  );
  assert.deepEqual(fieldAt(first?.body, "metadata", "ownerReferences"), [
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "ClusterRole",
      name: role,
      uid: "role-uid",
    },
  ]);
  assert.match(out(first), /"kubernetes\.io\/metadata\.name":"data"/);
  // Said again, and a status: nothing is written.
  connections.put({ ...stored("orders", "postgres.data.svc.cluster.local"), status: {} });
  connections.put(stored("orders", "postgres.other.svc.cluster.local", "agents", 2));
  const [, second, ...more] = await api.patched(2);
  assert.deepEqual(more, []);
  assert.match(out(second), /"kubernetes\.io\/metadata\.name":"other"/);
  assert.doesNotMatch(out(second), /"data"/);
});

test("what a pod uses of another namespace is let out for its own, and a name that no resolver knows for nobody", async (t) => {
  const { api, connections, pods, start } = await started(t, { "db.corp.example": ["10.1.2.3"] });
  connections.put(stored("shared", "db.corp.example", "platform"));
  connections.put(stored("lost", "nowhere.corp.example", "platform"));
  pods.put(injected("agents", ["platform/shared"]));
  start();
  const written = await api.patched(2);
  const agents = written.find(({ call }) => call.includes("/namespaces/agents/"));
  assert.match(out(agents), /10\.1\.2\.3\/32/);
  const platform = written.find(({ call }) => call.includes("/namespaces/platform/"));
  assert.equal(listAt(fieldAt(platform?.body, "spec"), "egress").length, 3);
});

test("a namespace without Connections gets its policy with its first injected pod", async (t) => {
  const { api, pods, start } = await started(t);
  start();
  pods.put(injected("fresh", []));
  const [first] = await api.patched(1);
  assert.match(first?.call ?? "", /\/namespaces\/fresh\//);
  assert.equal(out(first), "[]");
});
