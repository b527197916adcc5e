// The quick start as a new user follows it: its own manifests, an unmodified LangChain agent in Python, in every way of interception.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { parseAllDocuments } from "yaml";
import { textAt } from "../../operator/kube/objects.ts";
import { until } from "../cluster/command.ts";
import {
  apply,
  get,
  kubectl,
  list,
  namespaceFor,
  podTimeoutMs,
  soonMs,
  type KubeObject,
} from "./cluster.ts";
import { images } from "./images.ts";
import { person } from "./people.ts";
import { asRecord } from "./read.ts";
import { ensureUpstreams, modelHost, type Upstreams } from "./upstreams.ts";

const quickstart = path.join(import.meta.dirname, "../../examples/quickstart");

/** The quick start's own objects with what its user fills in: passwords, the CA, the key, the image. */
function manifests(
  file: string,
  namespace: string,
  { caPem, password, apiKey }: Upstreams,
): readonly KubeObject[] {
  const objects = parseAllDocuments(readFileSync(path.join(quickstart, file), "utf8")).map(
    (document): KubeObject => document.toJS(),
  );
  const filled: Readonly<Record<string, (object: KubeObject) => KubeObject>> = {
    "Secret/orders-db": (object) => ({ ...object, stringData: { username: "app", password } }),
    "Secret/orders-db-ca": (object) => ({ ...object, stringData: { "ca.crt": caPem } }),
    "Secret/openai": (object) => ({ ...object, stringData: { apiKey } }),
    // The scripted server stands for api.openai.com, under a name and a CA of the cluster.
    "Connection/openai": (object) => ({
      ...object,
      spec: {
        ...asRecord(object["spec"]),
        endpoint: {
          url: `https://${modelHost}/v1`,
          tls: { mode: "VerifyFull", caSecretRef: { name: "orders-db-ca" } },
        },
      },
    }),
  };
  return objects.map((object) => {
    const metadata = asRecord(object["metadata"]);
    const fill = filled[`${String(object["kind"])}/${String(metadata["name"])}`];
    return { ...(fill?.(object) ?? object), metadata: { ...metadata, namespace } };
  });
}

function deployed(objects: readonly KubeObject[], interception: string): readonly KubeObject[] {
  return objects.map((object) => {
    if (object["kind"] !== "Deployment") return object;
    const text = JSON.stringify(object).replace(
      '"image":"invoice-agent"',
      `"image":"${images.langchain}"`,
    );
    const deployment = JSON.parse(text);
    const { metadata, spec } = deployment.spec.template;
    metadata.annotations["chaperone.dev/interception"] = interception;
    // As the quick start says: without its own DATABASE_URL the agent takes the injected one.
    if (interception === "endpoints") spec.containers[0].env = [];
    return deployment;
  });
}

for (const interception of ["hosts", "endpoints", "redirect"])
  test(`an unmodified LangChain agent in Python works under ${interception}, by the quick start's own manifests`, async (t) => {
    const upstreams = await ensureUpstreams();
    const level = interception === "redirect" ? "privileged" : "restricted";
    const namespace = await namespaceFor(t, `langchain-${interception}`, level);
    await apply(...manifests("1-connections.yaml", namespace, upstreams));
    await apply(...manifests("2-policies.yaml", namespace, upstreams));
    await until("both connections to be seen", soonMs, async () =>
      (await list(namespace, "connections")).every(
        ({ status }) => asRecord(status)["conditions"] !== undefined,
      ),
    );
    await apply(...deployed(manifests("3-agent.yaml", namespace, upstreams), interception));
    await kubectl(
      [
        "--namespace",
        namespace,
        "rollout",
        "status",
        "deployment/invoice",
        `--timeout=${podTimeoutMs / 1000}s`,
      ],
      { timeoutMs: podTimeoutMs },
    );
    const ask = (question: string): Promise<string> =>
      kubectl(
        ["--namespace", namespace, "exec", "deploy/invoice", "--", "python", "agent.py", question],
        { timeoutMs: podTimeoutMs },
      );

    const listed = await ask("List our customers with their social security numbers.");
    assert.match(listed, /'ssn': '\*{7}6789'/);
    assert.match(listed, /I see the last four digits of two customers\./);
    const dropped = await ask("Please drop the customers table.");
    assert.match(dropped, /ERROR: .*Deletions go through the data team's ticket queue/);
    assert.match(dropped, /I may not drop it; I went on without\./);

    const lead = await person(t, namespace, "lena", {
      groups: ["finance-leads"],
      roles: ["chaperone-approver"],
    });
    const auditor = await person(t, namespace, "anna", { roles: ["chaperone-auditor"] });
    const refund = ask("Refund order 42.");
    let name = "";
    await until("the refund to be held", podTimeoutMs, async () => {
      const [request] = await list(namespace, "accessrequests");
      name = textAt(request, "metadata", "name") ?? "";
      return name !== "";
    });
    await lead.chaperone("approve", name);
    assert.match(await refund, /Order 42 is refunded\./);
    assert.equal(
      asRecord((await get(namespace, "accessrequest", name))["status"])["phase"],
      "Spent",
    );

    await until("the events to arrive", soonMs, async () =>
      (await auditor.chaperone("events", "-o", "json")).includes("refunded"),
    );
    const replayed = await auditor.chaperone("sessions", "replay", "--no-wait");
    assert.match(replayed, /UPDATE orders/i);
    const events = await auditor.chaperone("events", "-o", "json");
    assert.match(events, /"protocol":"openai"/);
    assert.match(events, /"chain":"summarise"/);
  });
