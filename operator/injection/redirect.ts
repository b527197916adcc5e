// What interception `redirect` adds before and after the proxy: chaperone-init loads the rules of the pod's network where its node does not, chaperone-verify
// tries to get past them. Every field that the API server would fill in is written out, as in the proxy's own container.
import type { RulesBy } from "../../contract/redirect.ts";
import { fieldAt, textAt, type JsonObject } from "../kube/objects.ts";
import { initContainerName, verifyContainerName, volumeNames } from "./names.ts";
import { agentContainers, objectsAt } from "./pod.ts";
import type { InjectionSettings } from "./settings.ts";
import { adminPort, apiToken } from "./template.ts";

/** Node and one call of nft; the verifier's attempts besides. */
const helperResources = {
  requests: { cpu: "10m", memory: "48Mi" },
  limits: { memory: "128Mi" },
} as const;
/** Both end in a second: the least that they can do with. */
const heapMb = 48;

/** The verifier's user: neither the agent's, nor the proxy's, which may go anywhere. */
export function verifyUid(settings: Pick<InjectionSettings, "uid">): number {
  return settings.uid + 1;
}

/** The only container of ours with a capability: it ends before any container of the agent begins. */
export function initContainer(settings: InjectionSettings, pod: JsonObject): JsonObject {
  return {
    ...helper(initContainerName, settings, "/app/init.mjs"),
    env: [
      { name: "CHAPERONE_PROXY_UID", value: String(settings.uid) },
      { name: "CHAPERONE_INBOUND", value: inboundPorts(pod) },
    ],
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { add: ["NET_ADMIN"], drop: ["ALL"] },
      privileged: false,
      readOnlyRootFilesystem: true,
      runAsGroup: 0,
      runAsNonRoot: false,
      runAsUser: 0,
      seccompProfile: { type: "RuntimeDefault" },
    },
  };
}

/** `by`: who loads the rules, so that a verifier that gets past can say whose they are. */
export function verifyContainer(settings: InjectionSettings, by: RulesBy): JsonObject {
  const uid = verifyUid(settings);
  const ofPod = (name: string, fieldPath: string): JsonObject => ({
    name,
    valueFrom: { fieldRef: { apiVersion: "v1", fieldPath } },
  });
  return {
    ...helper(verifyContainerName, settings, "/app/verify.mjs"),
    env: [
      ofPod("CHAPERONE_NODE_ADDRESSES", "status.hostIPs"),
      ofPod("CHAPERONE_POD_ADDRESSES", "status.podIPs"),
      ...(by === "node" ? [{ name: "CHAPERONE_RULES_BY", value: by }] : []),
    ],
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"] },
      privileged: false,
      readOnlyRootFilesystem: true,
      runAsGroup: uid,
      runAsNonRoot: true,
      runAsUser: uid,
      seccompProfile: { type: "RuntimeDefault" },
    },
  };
}

function helper(name: string, settings: InjectionSettings, program: string): JsonObject {
  return {
    name,
    image: settings.image,
    imagePullPolicy: settings.imagePullPolicy,
    command: [
      "node",
      "--disable-sigusr1",
      "--single-threaded-gc",
      `--max-old-space-size=${heapMb}`,
      program,
    ],
    resources: helperResources,
    terminationMessagePath: "/dev/termination-log",
    terminationMessagePolicy: "FallbackToLogsOnError",
    // Covers the place where the API server mounts the service account's own token.
    volumeMounts: [{ name: volumeNames.pod, mountPath: apiToken, readOnly: true }],
  };
}

/**
 * What may be reached from outside: declared ports, and those of probes and hooks, which the kubelet dials. As chaperone-init reads it:
 * `tcp:8080,udp:5353`.
 */
export function inboundPorts(pod: JsonObject): string {
  const found = new Set([`tcp:${adminPort}`]);
  for (const { container } of agentContainers(pod)) {
    const declared = objectsAt(container, "ports");
    for (const port of declared) {
      const protocol = (textAt(port, "protocol") ?? "TCP").toLowerCase();
      if (protocol !== "sctp") found.add(`${protocol}:${String(port["containerPort"])}`);
    }
    for (const handler of handlersOf(container))
      for (const kind of ["httpGet", "tcpSocket", "grpc"]) {
        // By name it is one of the declared ports.
        const port = fieldAt(handler, kind, "port");
        if (typeof port === "number") found.add(`tcp:${port}`);
      }
  }
  return [...found].toSorted().join(",");
}

function handlersOf(container: JsonObject): readonly unknown[] {
  return [
    container["startupProbe"],
    container["readinessProbe"],
    container["livenessProbe"],
    fieldAt(container, "lifecycle", "postStart"),
    fieldAt(container, "lifecycle", "preStop"),
  ];
}
