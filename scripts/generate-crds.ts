// Reads the CustomResourceDefinitions, which are the source of truth for types, validation and reference documents.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "yaml";
import type { CrdKind, Schema } from "../crds/schema.ts";

export interface Crd {
  readonly kind: CrdKind;
  readonly file: string;
  readonly schema: Schema;
}

const crdFiles: Readonly<Record<CrdKind, string>> = {
  Connection: "connection.yaml",
  AccessPolicy: "accesspolicy.yaml",
  ClusterAccessPolicy: "clusteraccesspolicy.yaml",
  AccessRequest: "accessrequest.yaml",
  Quarantine: "quarantine.yaml",
  AccessSession: "accesssession.yaml",
};

interface CrdDocument {
  readonly spec: {
    readonly names: { readonly kind: string };
    readonly versions: readonly { readonly schema: { readonly openAPIV3Schema: Schema } }[];
  };
}

export async function readCrds(directory: string): Promise<readonly Crd[]> {
  const kinds = Object.keys(crdFiles) as CrdKind[];
  return Promise.all(kinds.map((kind) => readCrd(directory, kind)));
}

async function readCrd(directory: string, kind: CrdKind): Promise<Crd> {
  const file = crdFiles[kind];
  const document = parse(await readFile(join(directory, file), "utf8")) as CrdDocument;
  const version = document.spec.versions[0];
  if (document.spec.names.kind !== kind || version === undefined)
    throw new Error(`${file} does not define ${kind}`);
  return { kind, file, schema: version.schema.openAPIV3Schema };
}
