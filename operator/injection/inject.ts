// The decision about one pod: a patch that puts the proxy beside the agent, nothing, or a refusal. Pure; raw JSON in, JSON Patch out.
import fastJsonPatch, { type Operation } from "fast-json-patch";
import type { AddressMap } from "../../contract/addresses.ts";
import type { Connection } from "../../crds/types.gen.ts";
import { targets } from "../../policy/select.ts";
import { fieldAt, isJsonObject, listAt, textAt, type JsonObject } from "../kube/objects.ts";
import type { ResourceView } from "../resources.ts";
import { endpointPortBase, forwardProxyPort, planAddresses } from "./addresses.ts";
import { agentEnvironment, equipped, type AgentEnvironment } from "./agent.ts";
import { checkPod, checkSecrets } from "./checks.ts";
import { chosenConnections } from "./chosen.ts";
import { hostAliases, withLowPorts } from "./host-names.ts";
import { annotations, injectLabel } from "./names.ts";
import { interceptionOf, ownContainers } from "./own-containers.ts";
import { agentContainers, annotationOf, nameOf, objectsAt, volumesOf } from "./pod.ts";
import {
  refusal,
  skipReasons,
  type Refusal,
  type RefuseReason,
  type SkipReason,
} from "./reasons.ts";
import { nodeRulesOf, refusedRulesBy, withRulesBy } from "./rules-by.ts";
import type { InjectionSettings } from "./settings.ts";
import { proxyVolumes } from "./template.ts";
import { judgeTier } from "./tier.ts";

export interface InjectionContext {
  /** Of the admission request: a pod made by a controller does not always name its own yet. */
  readonly namespace: string;
  readonly settings: InjectionSettings;
  readonly view: Pick<ResourceView, "connection" | "connectionsIn" | "policiesIn">;
}

export type InjectionDecision =
  | {
      readonly kind: "patch";
      readonly patch: readonly Operation[];
      readonly warnings: readonly string[];
    }
  | { readonly kind: "skip"; readonly reason: SkipReason; readonly message: string }
  | { readonly kind: "refuse"; readonly reason: RefuseReason; readonly message: string };

const mirrorAnnotation = "kubernetes.io/config.mirror";

export function inject(asked: JsonObject, context: InjectionContext): InjectionDecision {
  const pod = withRulesBy(asked, context.settings);
  const skipped = skipReason(pod);
  if (skipped !== undefined)
    return { kind: "skip", reason: skipped, message: skipReasons[skipped] };
  const { namespace, settings, view } = context;
  const refused = checkPod(pod, settings.uid) ?? checkSecrets(pod, view.connectionsIn(namespace));
  if (refused !== undefined) return { kind: "refuse", ...refused };
  const chosen = chosenConnections(pod, namespace, view);
  if ("refused" in chosen) return { kind: "refuse", ...chosen.refused };
  const plan = planned(pod, chosen.connections, settings);
  if ("refused" in plan) return { kind: "refuse", ...plan.refused };
  const injected = desired(pod, chosen.connections, plan.addresses, settings);
  return {
    kind: "patch",
    patch: fastJsonPatch.compare(asked, injected.pod),
    warnings: [
      ...injected.warnings,
      ...ungoverned(chosen.connections, context),
      ...nodeAccess(pod),
      ...nodeResolvers(pod),
    ],
  };
}

function skipReason(pod: JsonObject): SkipReason | undefined {
  if (textAt(pod, "metadata", "labels", injectLabel) !== "true") return "NotLabelled";
  return annotationOf(pod, mirrorAnnotation) === undefined ? undefined : "MirrorPod";
}

function planned(
  pod: JsonObject,
  connections: readonly Connection[],
  settings: InjectionSettings,
): { readonly addresses: AddressMap } | { readonly refused: Refusal } {
  const asked = interceptionOf(pod);
  const where = `metadata.annotations["${annotations.interception}"]`;
  if (asked === undefined) return { refused: refusal("InterceptionUnknown", where) };
  if (asked === "hosts" && settings.isIPv6Only)
    return { refused: refusal("InterceptionIPv6", where) };
  const byOthers = refusedRulesBy(pod, settings);
  if (byOthers !== undefined) return { refused: byOthers };
  const forward = annotationOf(pod, annotations.forwardProxy) ?? "false";
  if (forward !== "true" && forward !== "false")
    return {
      refused: refusal(
        "ForwardProxyUnknown",
        `metadata.annotations["${annotations.forwardProxy}"]`,
      ),
    };
  try {
    return {
      addresses: planAddresses(connections, {
        interception: asked,
        portBase: endpointPortBase,
        ...(forward === "true" && { forwardProxyPort }),
      }),
    };
  } catch {
    return { refused: refusal("TooManyConnections", `${connections.length} connections`) };
  }
}

function desired(
  pod: JsonObject,
  connections: readonly Connection[],
  addresses: AddressMap,
  settings: InjectionSettings,
): { readonly pod: JsonObject; readonly warnings: readonly string[] } {
  const environment = agentEnvironment(connections, addresses);
  const init = equipAll(
    agentContainers(pod).filter(({ list }) => list === "initContainers"),
    environment,
  );
  const main = equipAll(
    agentContainers(pod).filter(({ list }) => list === "containers"),
    environment,
  );
  const aliases = hostAliases(pod, addresses);
  const securityContext = withLowPorts(pod, addresses);
  const { tier, missing } = judgeTier(pod, addresses.interception, settings.uid);
  const rules = nodeRulesOf(pod, settings);
  const pullSecrets = withPullSecrets(pod, settings);
  const spec = fieldAt(pod, "spec");
  const metadata = fieldAt(pod, "metadata");
  const firstContainer = main.containers[0];
  return {
    warnings: [
      ...environment.warnings,
      ...aliases.warnings,
      ...init.warnings,
      ...main.warnings,
      // Who asks for redirect wants to be held: what keeps it from holding is worth a word. Others hear of it where a policy demands more.
      ...(tier === "Redirected" && missing !== undefined
        ? [`the pod is redirected and not locked: ${missing.message}`]
        : []),
    ],
    pod: {
      ...pod,
      metadata: {
        ...(isJsonObject(metadata) ? metadata : {}),
        annotations: {
          ...(firstContainer === undefined
            ? {}
            : { [annotations.defaultContainer]: nameOf(firstContainer) }),
          ...withoutJudged(annotationsOf(pod)),
          [annotations.tier]: tier,
          ...(missing === undefined ? {} : { [annotations.tierReason]: missing.reason }),
          ...(rules === undefined ? {} : { [annotations.rules]: rules }),
          [annotations.addresses]: JSON.stringify(addresses),
          [annotations.version]: settings.version,
        },
      },
      spec: {
        ...(isJsonObject(spec) ? spec : {}),
        initContainers: [...ownContainers(pod, settings), ...init.containers],
        containers: main.containers,
        volumes: withOurVolumes(pod),
        ...(aliases.aliases.length > 0 || fieldAt(spec, "hostAliases") !== undefined
          ? { hostAliases: aliases.aliases }
          : {}),
        ...(securityContext === undefined ? {} : { securityContext }),
        ...(pullSecrets.length === 0 ? {} : { imagePullSecrets: pullSecrets }),
      },
    },
  };
}

function annotationsOf(pod: JsonObject): JsonObject {
  const known = fieldAt(pod, "metadata", "annotations");
  return isJsonObject(known) ? known : {};
}

/** What was judged before does not stay beside what is judged now. */
function withoutJudged(known: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(known).filter(
      ([name]) => name !== annotations.tierReason && name !== annotations.rules,
    ),
  );
}

function equipAll(
  placed: ReturnType<typeof agentContainers>,
  environment: AgentEnvironment,
): { readonly containers: readonly JsonObject[]; readonly warnings: readonly string[] } {
  const results = placed.map(({ container }) => equipped(container, environment));
  return {
    containers: results.map(({ container }) => container),
    warnings: results.flatMap(({ warnings }) => warnings),
  };
}

/** Each in its place, so that a second round finds nothing to do. */
function withOurVolumes(pod: JsonObject): readonly JsonObject[] {
  const present = volumesOf(pod);
  const ours = new Map(proxyVolumes.map((volume) => [nameOf(volume), volume] as const));
  const names = new Set(present.map(nameOf));
  return [
    ...present.map((volume) => ours.get(nameOf(volume)) ?? volume),
    ...proxyVolumes.filter((volume) => !names.has(nameOf(volume))),
  ];
}

function withPullSecrets(
  pod: JsonObject,
  { imagePullSecrets }: InjectionSettings,
): readonly unknown[] {
  const theirs = listAt(pod, "spec", "imagePullSecrets");
  const known = new Set(objectsAt(pod, "spec", "imagePullSecrets").map(nameOf));
  return [
    ...theirs,
    ...imagePullSecrets.filter((name) => !known.has(name)).map((name) => ({ name })),
  ];
}

function ungoverned(
  connections: readonly Connection[],
  { namespace, view }: InjectionContext,
): readonly string[] {
  if (connections.length === 0)
    return [
      `no Connection in namespace ${namespace}: the pod runs, and the proxy has nothing to let through; create Connections and restart it`,
    ];
  const without = connections.filter(
    (connection) =>
      !view.policiesIn(connection.metadata.namespace).some((policy) => targets(policy, connection)),
  );
  return without.map(
    ({ metadata }) =>
      `no AccessPolicy governs Connection ${metadata.namespace}/${metadata.name}: everything on it is refused until one does`,
  );
}

/** Root of the node reads every volume of the pod; this cannot be held here, only said. */
function nodeAccess(pod: JsonObject): readonly string[] {
  const privileged = agentContainers(pod).find(
    ({ container }) => fieldAt(container, "securityContext", "privileged") === true,
  );
  const hostPath = volumesOf(pod).find((volume) => volume["hostPath"] !== undefined);
  return [
    ...(privileged === undefined
      ? []
      : [
          `container ${nameOf(privileged.container)} is privileged and can read the proxy's files on the node`,
        ]),
    ...(hostPath === undefined
      ? []
      : [
          `volume ${nameOf(hostPath)} is a hostPath: make sure that it does not reach the proxy's files on the node`,
        ]),
  ];
}

function nodeResolvers(pod: JsonObject): readonly string[] {
  return textAt(pod, "spec", "dnsPolicy") === "Default"
    ? [
        "spec.dnsPolicy Default asks the node's resolvers, which usually know no Service: the proxy has to find the operator by theirs; ClusterFirst is what pods have without it",
      ]
    : [];
}
