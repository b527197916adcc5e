// The reference pages that are generated, as path and text; scripts/generate.ts writes them or checks that they are current.
import type { Crd } from "./generate-crds.ts";
import { generateCliDoc } from "./generate-cli-doc.ts";
import { generateResourcesDoc } from "./generate-resources-doc.ts";

export function generateDocs(
  crds: readonly Crd[],
): readonly { readonly path: string; readonly text: string }[] {
  return [
    { path: "docs/reference/resources.md", text: generateResourcesDoc(crds) },
    { path: "docs/reference/cli.md", text: generateCliDoc() },
  ];
}
