// AdmissionReview (admission.k8s.io/v1) as the API server sends it, and the answers to it. Raw JSON, read field by field.
import type { Operation } from "fast-json-patch";
import type { AccessUser } from "../kube/access.ts";
import { fieldAt, isJsonObject, listAt, textAt, type JsonObject } from "../kube/objects.ts";

export interface AdmissionRequest {
  readonly uid: string;
  readonly resource: string;
  /** Empty for the resource itself. */
  readonly subresource: string;
  readonly operation: "CREATE" | "UPDATE" | "DELETE" | "CONNECT";
  readonly namespace: string;
  /** Empty where the API server chooses it. */
  readonly name: string;
  readonly kind: string;
  readonly user: AccessUser;
  readonly object: unknown;
  readonly oldObject: unknown;
}

export type AdmissionAnswer =
  | {
      readonly allowed: true;
      readonly patch?: readonly Operation[];
      readonly warnings?: readonly string[];
    }
  | { readonly allowed: false; readonly code: RefusalCode; readonly message: string };

/** 403 not allowed, 409 somebody was faster, 422 wrong in itself, 503 could not be decided. */
export type RefusalCode = 403 | 409 | 422 | 503;

const reasonOf: Readonly<Record<RefusalCode, string>> = {
  403: "Forbidden",
  409: "Conflict",
  422: "Invalid",
  503: "ServiceUnavailable",
};

/** The API server cuts warnings off at 4 KiB together. */
const maxWarnings = 16;

const operations = ["CREATE", "UPDATE", "DELETE", "CONNECT"] as const;

/** Undefined when it is no review at all, to which no answer can be given. */
export function readReview(body: unknown): AdmissionRequest | undefined {
  const request = fieldAt(body, "request");
  const uid = textAt(request, "uid");
  const resource = textAt(request, "resource", "resource");
  const operation = operations.find((known) => known === textAt(request, "operation"));
  const username = textAt(request, "userInfo", "username");
  if (
    fieldAt(body, "apiVersion") !== "admission.k8s.io/v1" ||
    uid === undefined ||
    resource === undefined ||
    operation === undefined ||
    username === undefined
  )
    return undefined;
  return {
    uid,
    resource,
    operation,
    subresource: textAt(request, "subResource") ?? "",
    namespace: textAt(request, "namespace") ?? "",
    name: textAt(request, "name") ?? "",
    kind: textAt(request, "kind", "kind") ?? "",
    user: readUser(fieldAt(request, "userInfo"), username),
    object: fieldAt(request, "object"),
    oldObject: fieldAt(request, "oldObject"),
  };
}

function readUser(info: unknown, username: string): AccessUser {
  const uid = textAt(info, "uid");
  const extra = fieldAt(info, "extra");
  return {
    username,
    groups: texts(listAt(info, "groups")),
    ...(uid === undefined || uid === "" ? {} : { uid }),
    ...(isJsonObject(extra)
      ? {
          extra: Object.fromEntries(
            Object.keys(extra).map((key) => [key, texts(listAt(extra, key))]),
          ),
        }
      : {}),
  };
}

function texts(values: readonly unknown[]): string[] {
  return values.filter((value) => typeof value === "string");
}

/** The answer under the request's own uid; the API server takes any other for a failure. */
export function reviewOf(uid: string, answer: AdmissionAnswer): JsonObject {
  return {
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    response: { uid, ...(answer.allowed ? allowedResponse(answer) : refusedResponse(answer)) },
  };
}

function allowedResponse({
  patch = [],
  warnings = [],
}: Extract<AdmissionAnswer, { allowed: true }>): JsonObject {
  return {
    allowed: true,
    ...(warnings.length === 0 ? {} : { warnings: shortened(warnings) }),
    ...(patch.length === 0
      ? {}
      : {
          patchType: "JSONPatch",
          patch: Buffer.from(JSON.stringify(patch)).toString("base64"),
        }),
  };
}

function shortened(warnings: readonly string[]): readonly string[] {
  if (warnings.length <= maxWarnings) return warnings;
  const hidden = warnings.length - maxWarnings + 1;
  return [...warnings.slice(0, maxWarnings - 1), `and ${hidden} more warnings`];
}

function refusedResponse({
  code,
  message,
}: Extract<AdmissionAnswer, { allowed: false }>): JsonObject {
  return {
    allowed: false,
    status: { status: "Failure", code, reason: reasonOf[code], message },
  };
}
