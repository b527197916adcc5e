// The file that marks are kept in, beside the spool: replaced whole, synced before it counts, and only the stream's own.
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { CarriedMark } from "../contract/event.ts";
import { replaceFile } from "./audit/segments.ts";
import type { MarkStore } from "./marks.ts";

const fileName = "marks.json";

/** @param stream `namespace/pod/podUid`: marks of another pod that used this directory are not this one's */
export function markFile(directory: string, stream: string): MarkStore {
  const file = join(directory, fileName);
  return {
    read() {
      if (!existsSync(file)) return [];
      const kept = parse(readFileSync(file, "utf8"));
      if (kept === undefined)
        throw new Error(
          `${file} cannot be read, so nobody knows which marks this pod's session carries; delete the pod`,
        );
      return kept.stream === stream ? kept.marks : [];
    },
    write(marks) {
      mkdirSync(directory, { recursive: true });
      replaceFile(file, JSON.stringify({ stream, marks }));
    },
  };
}

function parse(
  text: string,
): { readonly stream: string; readonly marks: readonly CarriedMark[] } | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isKept(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isKept(
  value: unknown,
): value is { readonly stream: string; readonly marks: readonly CarriedMark[] } {
  return (
    typeof value === "object" &&
    value !== null &&
    "stream" in value &&
    typeof value.stream === "string" &&
    "marks" in value &&
    Array.isArray(value.marks) &&
    value.marks.every(isMark)
  );
}

/** Written by us alone: what is asked for is what a decision and an event need of it. */
function isMark(value: unknown): value is CarriedMark {
  return (
    typeof value === "object" &&
    value !== null &&
    ["name", "since", "connection", "session", "operation"].every(
      (field) => typeof Reflect.get(value, field) === "string",
    )
  );
}
