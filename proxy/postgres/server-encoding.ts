// A database that is not UTF-8 may read a name beyond ASCII as another than it was understood as: such a text is refused.
import type { Understood } from "./understanding.ts";

const why =
  "its database is not UTF-8, which reads capitals and long names beyond ASCII in its own way; write the name in lower case or in quotation marks, with at most 31 bytes";

/** @param encoding as the server reports it; undefined where it does not */
export function studyIn(
  encoding: string | undefined,
  study: (text: string) => Understood,
): (text: string) => Understood {
  if (encoding === "UTF8") return study;
  return (text) => {
    const understood = study(text);
    const { operation, namesVary } = understood;
    return namesVary
      ? { ...understood, operation: { ...operation, unrecognised: why } }
      : understood;
  };
}
