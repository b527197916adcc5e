// Proves a projected token: offline first, then by TokenReview, then by the pod behind it (IdentityVerifier).
import { TokenRefused, type IdentityVerifier, type PodIdentity } from "../resources.ts";
import type { KubeClient } from "./client.ts";
import { KubeError } from "./kube-error.ts";
import { objectPath, readObject, type KubeObject } from "./objects.ts";
import { identityOf, podAddresses, startOf, type Standing } from "./pod-standing.ts";
import { resourceTypes } from "./resource-types.ts";
import type { ObjectStore } from "./store.ts";
import { TokenClaims, type PodClaims } from "./token-claims.ts";
import { TokenReviews } from "./token-review.ts";

export interface KubeIdentityOptions {
  readonly client: KubeClient;
  readonly pods: ObjectStore<KubeObject>;
  readonly now: () => number;
  readonly checksPeerAddress: boolean;
  readonly notInjected: (pod: KubeObject) => string | undefined;
  readonly tierOf?: Standing["tierOf"];
}

export function kubeIdentity(options: KubeIdentityOptions): IdentityVerifier {
  const { client, pods, now, checksPeerAddress, notInjected, tierOf } = options;
  const claimsOf = new TokenClaims(client, now);
  const reviews = new TokenReviews(client, now);

  return {
    async verify(token: string, peerAddress: string, signal: AbortSignal): Promise<PodIdentity> {
      const claims = await claimsOf.read(token, signal);
      const reviewed = await reviews.review(token, claims.expiresAt, signal);
      if (
        reviewed.podUid !== claims.podUid ||
        reviewed.username !== `system:serviceaccount:${claims.namespace}:${claims.serviceAccount}`
      ) {
        throw new TokenRefused(
          "TokenRejected",
          "the API server names another subject than the token does",
        );
      }
      const standing = {
        claims,
        peerAddress,
        checksPeerAddress,
        notInjected,
        ...(tierOf === undefined ? {} : { tierOf }),
      };
      const watched = pods.get(`${claims.namespace}/${claims.pod}`);
      if (watched !== undefined && isComplete(watched, claims))
        return identityOf({ ...standing, pod: watched, now: now() });
      // A pod of a second ago: the watch, or the kubelet's report, is still on its way.
      return identityOf({ ...standing, pod: await readPod(client, claims, signal), now: now() });
    },
  };
}

function isComplete(pod: KubeObject, claims: PodClaims): boolean {
  return (
    pod.metadata.uid === claims.podUid && podAddresses(pod).length > 0 && startOf(pod) !== undefined
  );
}

async function readPod(
  client: KubeClient,
  claims: PodClaims,
  signal: AbortSignal,
): Promise<KubeObject> {
  try {
    return readObject(
      await client.call(
        { method: "GET", path: objectPath(resourceTypes.Pod, claims.namespace, claims.pod) },
        signal,
      ),
      resourceTypes.Pod,
    );
  } catch (cause) {
    if (cause instanceof KubeError && cause.isNotFound)
      throw new TokenRefused("PodNotFound", `pod ${claims.namespace}/${claims.pod} is gone`, {
        cause,
      });
    throw new TokenRefused("PodUnknown", "the pod behind the token cannot be read at the moment", {
      cause,
      temporary: true,
    });
  }
}
