// Asks Kubernetes RBAC: what others may do (SubjectAccessReview), and at start whether we may do what we must.
import type { KubeClient } from "./client.ts";
import { apiVersionOf, collectionPath, fieldAt, type ResourceType } from "./objects.ts";
import { resourceTypes } from "./resource-types.ts";

export interface AccessQuestion {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource?: string;
  /** Undefined: in every namespace. */
  readonly namespace?: string;
  readonly name?: string;
}

export interface AccessUser {
  readonly username: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

export interface AccessReviewer {
  may(user: AccessUser, question: AccessQuestion, signal: AbortSignal): Promise<boolean>;
}

export function accessReviewer(client: KubeClient): AccessReviewer {
  return {
    async may({ username, uid, groups, extra }, question, signal) {
      const type = resourceTypes.SubjectAccessReview;
      const spec = {
        user: username,
        groups,
        ...(uid === undefined ? {} : { uid }),
        ...(extra === undefined ? {} : { extra }),
        resourceAttributes: question,
      };
      return await ask(client, type, spec, signal);
    },
  };
}

/** One clear line of everything that is missing, or nothing. */
export async function missingRights(
  client: KubeClient,
  needed: readonly AccessQuestion[],
  signal: AbortSignal,
): Promise<readonly string[]> {
  const answers = await Promise.all(
    needed.map((question) =>
      ask(client, resourceTypes.SelfSubjectAccessReview, { resourceAttributes: question }, signal),
    ),
  );
  return needed.filter((_, index) => answers[index] === false).map(describeQuestion);
}

export function describeQuestion({
  verb,
  group,
  resource,
  subresource,
  namespace,
  name,
}: AccessQuestion): string {
  const what = `${resource}${subresource === undefined ? "" : `/${subresource}`}${group === "" ? "" : `.${group}`}`;
  return `${verb} ${what}${name === undefined ? "" : ` ${name}`}${namespace === undefined ? "" : ` in ${namespace}`}`;
}

async function ask(
  client: KubeClient,
  type: ResourceType,
  spec: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<boolean> {
  const answer = await client.call(
    {
      method: "POST",
      path: collectionPath(type),
      body: { apiVersion: apiVersionOf(type), kind: type.kind, spec },
    },
    signal,
  );
  return fieldAt(answer, "status", "allowed") === true;
}
