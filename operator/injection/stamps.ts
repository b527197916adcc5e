// Who did it, as the API server knows them, written where nobody else can write it: the last author of a policy, and whoever deployed an
// agent, on the template that its pods are made from. What changed nothing that counts keeps the name that stood there.
import { isDeepStrictEqual } from "node:util";
import type { Operation } from "fast-json-patch";
import { fieldAt, isJsonObject, textAt, type JsonObject } from "../kube/objects.ts";
import { annotations } from "./names.ts";
import type { AdmissionAnswer, AdmissionRequest } from "./review.ts";

const policies: ReadonlySet<string> = new Set(["accesspolicies", "clusteraccesspolicies"]);

/** Where a workload keeps the template of its pods; only these reach us (the chart's webhook). */
const templates: Readonly<Record<string, readonly string[]>> = {
  deployments: ["spec", "template"],
  statefulsets: ["spec", "template"],
  daemonsets: ["spec", "template"],
  replicasets: ["spec", "template"],
  replicationcontrollers: ["spec", "template"],
  jobs: ["spec", "template"],
  cronjobs: ["spec", "jobTemplate", "spec", "template"],
};

/** A pod's own creator is a controller of Kubernetes, which passes on what the template says. */
export function isController(username: string): boolean {
  return (
    username === "system:kube-controller-manager" ||
    /^system:serviceaccount:kube-system:[a-z0-9-]+-controller$/.test(username)
  );
}

export function isStamped({ resource, subresource, operation }: AdmissionRequest): boolean {
  return (
    (policies.has(resource) || Object.hasOwn(templates, resource)) &&
    subresource === "" &&
    (operation === "CREATE" || operation === "UPDATE")
  );
}

/** Mutating. */
export function stamp(request: AdmissionRequest): AdmissionAnswer {
  const { at, name } = placeOf(request.resource);
  const patch = stampPatch(request.object, at, name, wantedAt(request, at, name));
  return { allowed: true, patch };
}

/** Validating, for policies: nothing between our stamp and here wrote another name. Undefined when it is as it should be. */
export function refuseAuthor(request: AdmissionRequest): AdmissionAnswer | undefined {
  if (!policies.has(request.resource)) return undefined;
  const { at, name } = placeOf(request.resource);
  if (textAt(request.object, ...metadataOf(at), name) === wantedAt(request, at, name))
    return undefined;
  return {
    allowed: false,
    code: 403,
    message: `metadata.annotations["${name}"] says who wrote the policy last and is written at admission alone: leave it out`,
  };
}

/** For a pod that is created, behind injection's own patch, which gives it annotations: whoever does it, unless a controller makes it from a template that says. */
export function deployerPatch({ object, user }: AdmissionRequest): readonly Operation[] {
  const path = [...metadataOf([]), annotations.deployedBy];
  if (isController(user.username) || textAt(object, ...path) === user.username) return [];
  return [{ op: "add", path: pointer(path), value: user.username }];
}

interface Place {
  /** Of the object whose metadata is stamped. */
  readonly at: readonly string[];
  readonly name: string;
}

function placeOf(resource: string): Place {
  const template = templates[resource];
  return template === undefined
    ? { at: [], name: annotations.author }
    : { at: template, name: annotations.deployedBy };
}

function metadataOf(at: readonly string[]): readonly string[] {
  return [...at, "metadata", "annotations"];
}

function wantedAt(
  { operation, object, oldObject, user }: AdmissionRequest,
  at: readonly string[],
  name: string,
): string | undefined {
  const isSame =
    operation === "UPDATE" &&
    isDeepStrictEqual(countsAt(object, at, name), countsAt(oldObject, at, name));
  return isSame ? textAt(oldObject, ...metadataOf(at), name) : user.username;
}

/** What makes somebody the author: the spec of a policy, the whole template of a workload, but for our own word in it. */
function countsAt(object: unknown, at: readonly string[], name: string): unknown {
  if (at.length === 0) return fieldAt(object, "spec");
  const template = fieldAt(object, ...at);
  const { [name]: _, ...others } = recordAt(template, "metadata", "annotations");
  const { annotations: __, ...metadata } = recordAt(template, "metadata");
  return { metadata, annotations: others, spec: fieldAt(template, "spec") };
}

function recordAt(value: unknown, ...path: readonly string[]): JsonObject {
  const found = fieldAt(value, ...path);
  return isJsonObject(found) ? found : {};
}

/** JSON Pointer (RFC 6901). */
function pointer(path: readonly string[]): string {
  return path.map((part) => `/${part.replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}

function stampPatch(
  object: unknown,
  at: readonly string[],
  name: string,
  wanted: string | undefined,
): readonly Operation[] {
  const path = [...metadataOf(at), name];
  const present = textAt(object, ...path);
  if (present === wanted) return [];
  if (wanted === undefined) return [{ op: "remove", path: pointer(path) }];
  const missing = [[...at, "metadata"], metadataOf(at)].filter(
    (place) => !isJsonObject(fieldAt(object, ...place)),
  );
  return [
    ...missing.map((place): Operation => ({ op: "add", path: pointer(place), value: {} })),
    { op: "add", path: pointer(path), value: wanted },
  ];
}
