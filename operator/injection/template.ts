// The injected container and its volumes. Every field that the API server would fill in is written out, so that a pod read back
// equals what was injected, and a pod that only looks injected does not.
import { podAudience } from "../../contract/control.ts";
import { proxyNodeFlags } from "../../contract/node-flags.ts";
import type { JsonObject } from "../kube/objects.ts";
import { annotations, proxyContainerName, trustDirectory, volumeNames } from "./names.ts";
import type { InjectionSettings } from "./settings.ts";

/** GET /healthz, /readyz, /metrics of the proxy (proxy/config.ts reads the same number). */
export const adminPort = 15_020;

/** The API server's minimum; the kubelet writes a new token at four fifths of it. */
const tokenSeconds = 600;

/** Also on a node that starts a hundred pods at once; a proxy is ready within a quarter of a second of its own time. */
const startupSeconds = 180;

/** Probes answer from memory; longer means that the event loop stands still. */
const probeTimeoutSeconds = 3;

/** The kernel's own default (0644), written out. */
const fileMode = 0o644;

const ownToken = "/var/run/secrets/chaperone";
export const apiToken = "/var/run/secrets/kubernetes.io/serviceaccount";

/** `hasChain`: the pod says which chain it runs. */
export function proxyContainer(settings: InjectionSettings, hasChain: boolean): JsonObject {
  const probe = (path: string): JsonObject => ({
    httpGet: { path, port: adminPort, scheme: "HTTP" },
    timeoutSeconds: probeTimeoutSeconds,
    successThreshold: 1,
  });
  return {
    name: proxyContainerName,
    image: settings.image,
    imagePullPolicy: settings.imagePullPolicy,
    command: ["node", ...proxyNodeFlags, "/app/proxy.mjs"],
    env: proxyEnvironment(settings, hasChain),
    ports: [{ name: "chaperone-admin", containerPort: adminPort, protocol: "TCP" }],
    resources: proxyResources,
    // A native sidecar: started before the agent's containers, ended after them, and a Job does not wait for it.
    restartPolicy: "Always",
    startupProbe: { ...probe("/readyz"), periodSeconds: 1, failureThreshold: startupSeconds },
    readinessProbe: { ...probe("/readyz"), periodSeconds: 5, failureThreshold: 3 },
    livenessProbe: { ...probe("/healthz"), periodSeconds: 10, failureThreshold: 6 },
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"] },
      privileged: false,
      readOnlyRootFilesystem: true,
      runAsGroup: settings.uid,
      runAsNonRoot: true,
      runAsUser: settings.uid,
      seccompProfile: { type: "RuntimeDefault" },
    },
    terminationMessagePath: "/dev/termination-log",
    terminationMessagePolicy: "FallbackToLogsOnError",
    volumeMounts: [
      { name: volumeNames.token, mountPath: ownToken, readOnly: true },
      { name: volumeNames.pod, mountPath: "/etc/chaperone/pod", readOnly: true },
      { name: volumeNames.spool, mountPath: "/var/lib/chaperone/spool" },
      { name: volumeNames.authority, mountPath: "/var/run/chaperone/ca" },
      { name: volumeNames.trust, mountPath: trustDirectory },
      // Covers the place where the API server mounts the service account's own token: the proxy has no business with it.
      { name: volumeNames.pod, mountPath: apiToken, readOnly: true },
    ],
  };
}

export const proxyResources = {
  requests: { cpu: "50m", memory: "96Mi" },
  limits: { memory: "256Mi" },
} as const;

function proxyEnvironment(settings: InjectionSettings, hasChain: boolean): readonly JsonObject[] {
  const ofPod = (name: string, fieldPath: string): JsonObject => ({
    name,
    valueFrom: { fieldRef: { apiVersion: "v1", fieldPath } },
  });
  return [
    { name: "CHAPERONE_OPERATOR_URL", value: settings.operatorUrl },
    { name: "CHAPERONE_OPERATOR_CA", value: settings.operatorCa },
    ofPod("CHAPERONE_NAMESPACE", "metadata.namespace"),
    ofPod("CHAPERONE_POD", "metadata.name"),
    ofPod("CHAPERONE_POD_UID", "metadata.uid"),
    ofPod("CHAPERONE_SERVICE_ACCOUNT", "spec.serviceAccountName"),
    ...(hasChain ? [ofPod("CHAPERONE_CHAIN", `metadata.annotations['${annotations.chain}']`)] : []),
    ...(settings.extraCa === "" ? [] : [{ name: "CHAPERONE_EXTRA_CA", value: settings.extraCa }]),
  ];
}

export const proxyVolumes: readonly JsonObject[] = [
  {
    name: volumeNames.token,
    projected: {
      defaultMode: fileMode,
      sources: [
        {
          serviceAccountToken: {
            audience: podAudience,
            expirationSeconds: tokenSeconds,
            path: "token",
          },
        },
      ],
    },
  },
  {
    name: volumeNames.pod,
    downwardAPI: {
      defaultMode: fileMode,
      items: [
        {
          path: "addresses",
          fieldRef: {
            apiVersion: "v1",
            fieldPath: `metadata.annotations['${annotations.addresses}']`,
          },
        },
      ],
    },
  },
  { name: volumeNames.spool, emptyDir: {} },
  { name: volumeNames.authority, emptyDir: { medium: "Memory", sizeLimit: "1Mi" } },
  { name: volumeNames.trust, emptyDir: { sizeLimit: "8Mi" } },
];
