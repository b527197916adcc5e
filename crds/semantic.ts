// The third stage: what is wrong within one object and CEL cannot say. Runs on objects that are structurally sound.
import { connectionProblems } from "./semantic-connection.ts";
import { policyProblems } from "./semantic-policy.ts";
import type { Problem } from "./problem.ts";
import type { CrdKind } from "./schema.ts";
import type { AccessPolicy, ClusterAccessPolicy, Connection } from "./types.gen.ts";

export function semanticProblems(kind: CrdKind, object: unknown): readonly Problem[] {
  switch (kind) {
    case "Connection":
      return connectionProblems((object as Connection).spec);
    case "AccessPolicy":
      return policyProblems((object as AccessPolicy).spec);
    case "ClusterAccessPolicy":
      return policyProblems((object as ClusterAccessPolicy).spec);
    case "AccessRequest":
    case "AccessSession":
    case "Quarantine":
      return [];
  }
}
