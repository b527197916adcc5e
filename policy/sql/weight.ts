// What it takes to keep an understood text: one of 64 KiB can name ten thousand columns, which are ten times its bytes.
import type { SqlOperation } from "../operation.ts";

/** An access with its strings, roughly. */
const bytesPerAccess = 300;
/** A name in the facts and in an access, and its place in the form that is recorded. */
const bytesPerName = 64;

/** Bytes, estimated; its text apart. */
export function sqlWeight({ accesses, facts }: Pick<SqlOperation, "accesses" | "facts">): number {
  const { columns, functions, relationsRead, relationsWritten } = facts;
  const names = columns.length + functions.length + relationsRead.length + relationsWritten.length;
  return accesses.length * bytesPerAccess + names * bytesPerName;
}
