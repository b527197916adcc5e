// Whether a rule's `passthrough` block speaks about a TLS connection that is not opened.
import type { PassthroughMatch } from "../bundle.ts";
import type { PassthroughFacts } from "../operation.ts";
import { compileHost, matchesHost } from "../pattern.ts";
import type { HostPattern } from "../pattern.ts";
import type { MatchField } from "./field.ts";

export interface PassthroughMatcher {
  readonly hosts: readonly HostPattern[] | undefined;
}

export function compilePassthrough({ hosts }: PassthroughMatch): PassthroughMatcher {
  return { hosts: hosts?.map(compileHost) };
}

export function passthroughMismatch(
  { hosts }: PassthroughMatcher,
  facts: PassthroughFacts,
): MatchField | undefined {
  return hosts && !hosts.some((host) => matchesHost(host, facts.host)) ? "hosts" : undefined;
}
