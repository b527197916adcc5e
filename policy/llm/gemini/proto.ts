// ProtoJSON, which Google's APIs read: a field may be written in lowerCamelCase or by its snake_case name, and a list of one as that one.
import { isObject } from "../json.ts";
import type { JsonObject } from "../json.ts";
import { NotUnderstood } from "../reading.ts";

export function camelOf(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** The value as an object with each name in lowerCamelCase. Throws NotUnderstood for one that names a field in both ways. */
export function messageOf(value: unknown, what: string): JsonObject {
  if (!isObject(value)) throw new NotUnderstood(`${what} is no object`);
  const message: Record<string, unknown> = {};
  for (const [name, one] of Object.entries(value)) {
    const known = camelOf(name);
    if (Object.hasOwn(message, known))
      throw new NotUnderstood(
        `${what} has ${JSON.stringify(known.slice(0, 64))} twice, in both of its spellings`,
      );
    if (one !== null) message[known] = one;
  }
  return message;
}

/** As `messageOf`; absent is an empty one. */
export function optionalMessage(value: unknown, what: string): JsonObject {
  return value === undefined || value === null ? {} : messageOf(value, what);
}

/** An absent list is empty, and an object in the place of a list is a list of one. */
export function repeatedOf(value: unknown, what: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value)) return value;
  if (isObject(value)) return [value];
  throw new NotUnderstood(`${what} is no list`);
}
