// Builds the entries of the CEL table: a sound object, and what is changed in it to please or to break one rule.
import { crdApiVersion } from "./schema.ts";
import type { CrdKind } from "./schema.ts";

export interface CelCase {
  readonly kind: CrdKind;
  /** Where the refusal is reported. */
  readonly path: string;
  /** How the refusal's sentence begins. */
  readonly message: string;
  readonly good: unknown;
  readonly bad: unknown;
  /** The rule is about a change: apply `good` first, then `bad` over it. */
  readonly isUpdate: boolean;
}

/** `spec.rules[0].sql` to its new value. */
export type Changes = Readonly<Record<string, unknown>>;

export function caseBuilder(kind: CrdKind, spec: Readonly<Record<string, unknown>>) {
  const base = {
    apiVersion: crdApiVersion,
    kind,
    metadata: { name: `case-${kind.toLowerCase()}`, namespace: "default" },
    spec,
  };
  return (
    path: string,
    message: string,
    change: { readonly good: Changes; readonly bad: Changes; readonly update?: true },
  ): CelCase => ({
    kind,
    path,
    message,
    good: changed(base, change.good),
    bad: changed(base, change.bad),
    isUpdate: change.update === true,
  });
}

function changed(base: unknown, changes: Changes): unknown {
  return Object.entries(changes).reduce(
    (object, [path, value]) => replaced(object, path.split(/[.[\]]+/).filter(Boolean), value),
    base,
  );
}

function replaced(object: unknown, path: readonly string[], value: unknown): unknown {
  const [head, ...rest] = path;
  if (head === undefined) return value;
  if (Array.isArray(object))
    return object.map((item: unknown, index) =>
      index === Number(head) ? replaced(item, rest, value) : item,
    );
  const fields = Object.entries(typeof object === "object" && object !== null ? object : {});
  const before: unknown = fields.find(([name]) => name === head)?.[1];
  return Object.fromEntries([
    ...fields.filter(([name]) => name !== head),
    [head, replaced(before, rest, value)],
  ]);
}
