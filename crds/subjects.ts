// Whether one policy selects every subject that another one selects. Sound, not complete: an unsure answer is no.
import type { RuleAction } from "../policy/bundle.ts";
import { compilePattern, matches } from "../policy/pattern.ts";
import type { AccessPolicy, PolicySubject } from "./types.gen.ts";

/** `action`: of the wider policy's rule; a chain narrows Allow and RequireApproval, never a Deny. */
export function selectsAllOf(
  wide: AccessPolicy,
  narrow: AccessPolicy,
  action: RuleAction,
): boolean {
  const wideSubjects = subjectsOf(wide);
  return subjectsOf(narrow).every((inner) =>
    accountsOf(inner, narrow).every((account) =>
      wideSubjects.some(
        (outer) =>
          covers(accountsOf(outer, wide), [account]) &&
          (action === "Deny" || coversChains(outer, inner)),
      ),
    ),
  );
}

function subjectsOf(policy: AccessPolicy): readonly PolicySubject[] {
  return policy.spec.subjects ?? [{ serviceAccounts: ["*"] }];
}

/** As `namespace/name`; a bare name is one of the policy's namespace. */
function accountsOf(subject: PolicySubject, policy: AccessPolicy): readonly string[] {
  return (subject.serviceAccounts ?? []).map((account) =>
    account.includes("/") ? account : `${policy.metadata.namespace}/${account}`,
  );
}

function coversChains(wide: PolicySubject, narrow: PolicySubject): boolean {
  if (wide.chains === undefined) return true;
  return narrow.chains !== undefined && covers(wide.chains, narrow.chains);
}

/** A `*` of a narrower pattern is one more character, which only a `*` of the wider one can take up. */
function covers(wide: readonly string[], narrow: readonly string[]): boolean {
  const patterns = wide.map(compilePattern);
  return narrow.every((text) => patterns.some((pattern) => matches(pattern, text)));
}
