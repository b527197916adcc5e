import assert from "node:assert/strict";
import { test } from "node:test";
import { secretsNamed } from "./pod-secrets.ts";

test("every place that can name a Secret is found, ephemeral containers too; pull secrets are the kubelet's", () => {
  const pod = {
    spec: {
      imagePullSecrets: [{ name: "pull" }],
      containers: [
        {
          name: "a",
          env: [{ name: "K", valueFrom: { secretKeyRef: { name: "one", key: "k" } } }],
          envFrom: [{ secretRef: { name: "two" } }],
        },
      ],
      ephemeralContainers: [{ name: "debug", envFrom: [{ secretRef: { name: "three" } }] }],
      volumes: [
        { name: "v", secret: { secretName: "four" } },
        { name: "p", projected: { sources: [{ secret: { name: "five" } }] } },
        { name: "c", csi: { driver: "d", nodePublishSecretRef: { name: "six" } } },
      ],
    },
  };
  assert.deepEqual(
    [...secretsNamed(pod)].map(({ secret }) => secret),
    ["one", "two", "three", "four", "five", "six"],
  );
});
