// What governs one subject on one connection right now, read from the resources alone: the same answer for a grant, for a
// spent approval and for the question whether a change touches a live grant.
import type { Endpoint } from "../../contract/control.ts";
import { credentialSecretsOf } from "../connections/credential-secrets.ts";
import type { Connection } from "../../crds/types.gen.ts";
import type { Bundle } from "../../policy/bundle.ts";
import { compile } from "../../policy/compile.ts";
import { compilePattern, matches } from "../../policy/pattern.ts";
import { connectionTarget } from "../connections/endpoint.ts";
import type { TlsSecrets } from "./tls-secrets.ts";
import type { BundleInput } from "./bundles.ts";
import { covers, ordersFor, quarantineMessage, type QuarantinedPod } from "../quarantine/select.ts";
import type { ResourceView } from "../resources.ts";

export interface Governing {
  readonly view: ResourceView;
  /** `bundleCompiler()` where the same is asked often; left out, every answer is compiled anew. */
  readonly compile?: (input: BundleInput) => Bundle;
  /** Key of `hash` transforms, base64url, one per namespace. */
  readonly maskKey: (namespace: string) => string;
  readonly operatorNamespace: string | undefined;
  readonly now: () => number;
}

export type GovernReason =
  | "ConnectionNotFound"
  | "NamespaceNotAllowed"
  | "Quarantined"
  | "NoPolicy"
  | "PolicyUnusable";

export type Governed =
  | { readonly connection: Connection; readonly bundle: Bundle }
  | { readonly refused: GovernReason; readonly message: string };

/** `pod` undefined asks about the subject alone, leaving quarantines out. */
export function govern(
  governing: Governing,
  subject: { readonly namespace: string; readonly serviceAccount: string },
  pod: QuarantinedPod | undefined,
  name: string,
): Governed {
  const { view, maskKey } = governing;
  const [namespace = "", local = ""] = name.split("/");
  const connection = view.connection(namespace, local);
  if (connection === undefined || connection.metadata.deletionTimestamp !== undefined) {
    return {
      refused: "ConnectionNotFound",
      message: `connection ${name} does not exist; create it, or remove it from the pod's chaperone.dev/connections annotation`,
    };
  }
  if (!allowsNamespace(connection, subject.namespace)) {
    return {
      refused: "NamespaceNotAllowed",
      message: `connection ${name} does not allow namespace ${subject.namespace}; add it to spec.allowedNamespaces there`,
    };
  }
  const order = pod === undefined ? undefined : quarantineOf(governing, pod, name);
  if (order !== undefined) return { refused: "Quarantined", message: quarantineMessage(order) };
  let bundle: Bundle;
  try {
    const prices = view.prices();
    bundle = (governing.compile ?? compile)({
      connection,
      policies: view.policiesIn(namespace),
      clusterPolicies: view.clusterPolicies(),
      subject,
      maskKey: maskKey(namespace),
      ...(prices !== undefined && { prices }),
    });
  } catch (error) {
    return {
      refused: "PolicyUnusable",
      message: `the policies of connection ${name} cannot be compiled: ${error instanceof Error ? error.message : "unknown error"}`,
    };
  }
  if (bundle.policies.length === 0) {
    return {
      refused: "NoPolicy",
      message: `no policy lets ${subject.namespace}/${subject.serviceAccount} use connection ${local}; create an AccessPolicy in namespace ${namespace} whose targetRefs name ${local} and whose subjects name ${subject.serviceAccount}`,
    };
  }
  return { connection, bundle };
}

/** The quarantine in force that cuts `pod` off from `connection`, or wholly when none is given. */
export function quarantineOf(
  governing: Pick<Governing, "view" | "now" | "operatorNamespace">,
  pod: QuarantinedPod,
  connection: string | undefined,
): { readonly name: string; readonly reason: string } | undefined {
  const orders = ordersFor(
    governing.view.quarantines(),
    pod,
    governing.now(),
    governing.operatorNamespace,
  );
  return orders.find(({ reach }) => covers(reach, connection));
}

export function allowsNamespace(connection: Connection, namespace: string): boolean {
  if (connection.metadata.namespace === namespace) return true;
  return (connection.spec.allowedNamespaces ?? []).some((pattern) =>
    matches(compilePattern(pattern), namespace),
  );
}

/** Where the proxy finds the upstream, and how the two prove themselves. */
export function endpointOf(connection: Connection, secrets: TlsSecrets = {}): Endpoint {
  const target = connectionTarget(connection);
  const { spec } = connection;
  const { database, targetSessionAttrs, dangerouslyAllowAuthentication } = spec.postgres ?? {};
  const pins = spec.endpoint.tls?.pins;
  const several = targetSessionAttrs !== undefined && targetSessionAttrs !== "any";
  return {
    host: target.host,
    port: target.port,
    tls: target.tls
      ? { mode: "VerifyFull", ...secrets, ...(pins === undefined ? {} : { pins }) }
      : { mode: "Disable" },
    basePath: target.basePath,
    ...(spec.http?.cookies === "Pass" ? { cookies: "Pass" } : {}),
    ...(spec.http?.headers === undefined ? {} : { headers: spec.http.headers }),
    ...(spec.http?.retries === undefined ? {} : { retries: spec.http.retries }),
    ...(spec.protocol === "mcp" && {
      toolChanges: spec.mcp?.toolChanges ?? ("RequireApproval" as const),
    }),
    ...(database === undefined ? {} : { database }),
    ...(target.fallbacks.length === 0 ? {} : { fallbacks: target.fallbacks }),
    ...(several ? { targetSessionAttrs } : {}),
    ...(dangerouslyAllowAuthentication === undefined ? {} : { dangerouslyAllowAuthentication }),
  };
}

/** The Secrets a connection depends on, in its own namespace. */
export function secretsOf(connection: Connection): string[] {
  const { endpoint, credential } = connection.spec;
  const authorities = [endpoint.tls?.caSecretRef?.name, credential?.oauth2?.caSecretRef?.name];
  return [...credentialSecretsOf(connection), ...authorities.flatMap((name) => name ?? [])];
}
