// Compiled bundles of the resources as they stand: every pod of one service account shares one, and asking twice costs nothing.
import type { AccessPolicy, ClusterAccessPolicy, Connection } from "../../crds/types.gen.ts";
import type { PriceTable } from "../../policy/budget/price.ts";
import type { Bundle } from "../../policy/bundle.ts";
import { compile } from "../../policy/compile.ts";

/** Service accounts that use one connection; a bundle of some kilobytes each. Beyond it they are compiled again. */
const maxSubjectsPerConnection = 1_000;

interface Compiled {
  readonly policies: readonly AccessPolicy[];
  readonly prices: PriceTable | undefined;
  readonly clusterPolicies: readonly ClusterAccessPolicy[];
  readonly bundle: Bundle;
}

export interface BundleInput {
  readonly connection: Connection;
  readonly policies: readonly AccessPolicy[];
  readonly clusterPolicies?: readonly ClusterAccessPolicy[];
  readonly subject: { readonly namespace: string; readonly serviceAccount: string };
  readonly maskKey: string;
  readonly prices?: PriceTable;
}

/**
 * Returns a compiler that remembers. What it remembers counts only while the connection and every policy are the very
 * objects it was made of: the view replaces what changes, so there is nothing to invalidate.
 */
export function bundleCompiler(): (input: BundleInput) => Bundle {
  const remembered = new WeakMap<Connection, Map<string, Compiled>>();
  return (input) => {
    const { connection, policies, clusterPolicies = [], subject, prices } = input;
    const bySubject = remembered.get(connection) ?? new Map<string, Compiled>();
    remembered.set(connection, bySubject);
    const key = `${subject.namespace}/${subject.serviceAccount}`;
    const known = bySubject.get(key);
    const isCurrent =
      known !== undefined &&
      known.prices === prices &&
      areSame(known.policies, policies) &&
      areSame(known.clusterPolicies, clusterPolicies);
    if (isCurrent) return known.bundle;
    const bundle = compile(input);
    if (bySubject.size >= maxSubjectsPerConnection) bySubject.clear();
    bySubject.set(key, {
      policies: [...policies],
      clusterPolicies: [...clusterPolicies],
      prices,
      bundle,
    });
    return bundle;
  };
}

function areSame(a: readonly object[], b: readonly object[]): boolean {
  return a.length === b.length && a.every((policy, index) => policy === b[index]);
}
