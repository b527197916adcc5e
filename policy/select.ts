// Which policies govern one subject on one connection.
import type { AccessPolicy, Connection, PolicySubject } from "../crds/types.gen.ts";
import { compilePattern, matches } from "./pattern.ts";

/** Who is acting, as far as policies select by it. */
export interface PolicySubjectId {
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** A policy governs the connections of its own namespace that its targetRefs name. */
export function targets(policy: AccessPolicy, connection: Connection): boolean {
  if (policy.metadata.namespace !== connection.metadata.namespace) return false;
  return policy.spec.targetRefs.some((target) => target.name === connection.metadata.name);
}

/** Whether the policy speaks about the subject; left out, `subjects` means every subject of the policy's namespace. */
export function selectsSubject(policy: AccessPolicy, subject: PolicySubjectId): boolean {
  const { subjects } = policy.spec;
  if (subjects === undefined) return policy.metadata.namespace === subject.namespace;
  return subjects.some((entry) => namesSubject(policy, entry, subject));
}

/**
 * The chains that the policy's permissions are for, or undefined when they are for all. Entries add up: one that names
 * the subject without chains opens them all.
 */
export function selectedChains(
  policy: AccessPolicy,
  subject: PolicySubjectId,
): readonly string[] | undefined {
  const entries = (policy.spec.subjects ?? []).filter((entry) =>
    namesSubject(policy, entry, subject),
  );
  if (entries.length === 0 || entries.some((entry) => entry.chains === undefined)) return undefined;
  return [...new Set(entries.flatMap((entry) => entry.chains ?? []))].sort();
}

function namesSubject(
  policy: AccessPolicy,
  entry: PolicySubject,
  subject: PolicySubjectId,
): boolean {
  return (entry.serviceAccounts ?? []).some((pattern) => {
    const slash = pattern.indexOf("/");
    const namespace = slash < 0 ? policy.metadata.namespace : pattern.slice(0, slash);
    const name = pattern.slice(slash + 1);
    return (
      matches(compilePattern(namespace), subject.namespace) &&
      matches(compilePattern(name), subject.serviceAccount)
    );
  });
}
