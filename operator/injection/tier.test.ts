import assert from "node:assert/strict";
import { test } from "node:test";

import type { JsonObject } from "../kube/objects.ts";
import { podOf } from "./fixture.ts";
import { judgeTier } from "./tier.ts";

const container = (changes: JsonObject) => ({ name: "agent", image: "agent:1", ...changes });
const volume = (name: string, source: JsonObject) => ({ name, ...source });

const seccompProfile = { type: "RuntimeDefault" };
const unfiltered = {
  runAsUser: 1000,
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
};
const held = { ...unfiltered, seccompProfile };

function podWith(securityContext: JsonObject, spec: JsonObject = {}): JsonObject {
  return podOf({ containers: [container({ securityContext })], ...spec });
}

test("a redirected pod whose containers can gain nothing is locked", () => {
  assert.deepEqual(judgeTier(podWith(held), "redirect", 64_535), { tier: "Locked" });
  const byPod = podOf({
    securityContext: { runAsUser: 1000, seccompProfile: { type: "Localhost" } },
    containers: [
      container({
        securityContext: {
          allowPrivilegeEscalation: false,
          capabilities: { drop: ["CAP_ALL"], add: ["NET_BIND_SERVICE"] },
        },
      }),
    ],
  });
  assert.deepEqual(judgeTier(byPod, "redirect", 64_535), { tier: "Locked" });
});

test("endpoints and hosts hold who wants to be held, whatever else is true", () => {
  for (const interception of ["endpoints", "hosts"] as const) {
    const { tier, missing } = judgeTier(podWith(held), interception, 64_535);
    assert.deepEqual([tier, missing?.reason], ["Cooperative", "NotRedirected"]);
  }
});

const cases: readonly (readonly [string, JsonObject, RegExp])[] = [
  [
    "HostPath",
    podWith(held, { volumes: [volume("host", { hostPath: { path: "/" } })] }),
    /volume host/,
  ],
  ["Privileged", podWith({ ...held, privileged: true }), /can do what the node can/],
  [
    "CapabilitiesAdded",
    podWith({ ...held, capabilities: { drop: ["ALL"], add: ["NET_ADMIN"] } }),
    /has NET_ADMIN/,
  ],
  [
    "CapabilitiesAdded",
    podWith({ ...held, capabilities: { drop: ["ALL"], add: ["net_raw"] } }),
    /has NET_RAW/,
  ],
  [
    "CapabilitiesAdded",
    podWith({ ...held, capabilities: { drop: ["ALL"], add: ["CAP_SETUID"] } }),
    /has SETUID/,
  ],
  [
    "CapabilitiesAdded",
    podWith({ ...held, capabilities: { drop: ["ALL"], add: ["ALL"] } }),
    /has ALL/,
  ],
  ["CapabilitiesKept", podWith({ ...held, capabilities: { drop: ["NET_RAW"] } }), /drop ALL/],
  ["CapabilitiesKept", podWith({}), /drop ALL/],
  ["PrivilegeEscalation", podWith({ ...held, allowPrivilegeEscalation: true }), /set it to false/],
  [
    "PrivilegeEscalation",
    podWith({ runAsUser: 1, capabilities: { drop: ["ALL"] } }),
    /set it to false/,
  ],
  ["Root", podWith({ ...held, runAsUser: 0 }), /as root/],
  ["Root", podWith({ ...held, runAsUser: 0 }, { securityContext: { runAsUser: 1000 } }), /as root/],
  [
    "UserUnset",
    podWith({
      allowPrivilegeEscalation: false,
      runAsNonRoot: true,
      capabilities: { drop: ["ALL"] },
    }),
    /whoever its image says/,
  ],
  ["ProxyUser", podWith({ ...held, runAsUser: 64_535 }), /the proxy's user/],
  ["SeccompUnset", podWith(unfiltered), /set type RuntimeDefault/],
  [
    "SeccompUnset",
    podWith(
      { ...unfiltered, seccompProfile: { type: "Unconfined" } },
      { securityContext: { seccompProfile } },
    ),
    /AF_VSOCK/,
  ],
  [
    "CapabilitiesKept",
    podWith(held, { initContainers: [container({ name: "setup" })] }),
    /spec\.initContainers\[0\].*setup/,
  ],
  [
    "CapabilitiesKept",
    podWith(held, { ephemeralContainers: [container({ name: "debugger" })] }),
    /debugger/,
  ],
];

for (const [reason, pod, message] of cases)
  test(`a redirected pod is not locked: ${reason}, ${message.source}`, () => {
    const { tier, missing } = judgeTier(pod, "redirect", 64_535);
    assert.deepEqual([tier, missing?.reason], ["Redirected", reason]);
    assert.match(missing?.message ?? "", message);
  });
