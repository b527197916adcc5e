// The fields of a form as the members of an object, so that forms and JSON are read alike.
import type { FormPart } from "../form.ts";
import type { JsonObject } from "../json.ts";
import { NotUnderstood, objectOf } from "../reading.ts";

export interface FormFields {
  readonly fields: JsonObject;
  readonly files: readonly FormPart[];
}

/** @param names that are read here: each stands once, and is no file. Throws NotUnderstood. */
export function readForm(value: unknown, names: ReadonlySet<string>): FormFields {
  const fields: Record<string, unknown> = Object.create(null);
  const files: FormPart[] = [];
  for (const part of partsOf(value)) {
    // Some servers take `model[]` and `model[0]` for `model`.
    const name = part.name.replace(/\[.*$/, "");
    const isRead = names.has(name) && name !== "file";
    if (isRead && (name !== part.name || part.filename !== undefined || name in fields))
      throw new NotUnderstood(`the form has ${name} several times, as a list or as a file`);
    if (part.filename === undefined) fields[part.name] = valueOf(part);
    else files.push(part);
  }
  return { fields: objectOf({ ...fields }, "the form", names), files };
}

function partsOf(value: unknown): readonly FormPart[] {
  // What the recogniser hands over for a route with a form.
  return Array.isArray(value) ? value : [];
}

function valueOf({ name, bytes }: FormPart): unknown {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new NotUnderstood(`the field ${JSON.stringify(name)} of the form is no UTF-8`);
  }
  // As the SDKs write it; others are refused where it is read.
  if (name === "stream" && /^(?:true|false)$/.test(text)) return text === "true";
  return text;
}
