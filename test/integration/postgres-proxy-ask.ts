// One text through either protocol, for tests that try the same in both.
import { serialize } from "pg-protocol";
import { field, type Answer, type RawClient } from "./postgres-proxy-raw.ts";

/** Behind a COPY FROM, the end of its data. */
export async function askAll(
  raw: RawClient,
  text: string,
  how: "simple" | "extended",
): Promise<Answer[]> {
  if (how === "simple") raw.send(serialize.query(text));
  else
    raw.send(
      serialize.parse({ text }),
      serialize.bind({}),
      serialize.execute({}),
      serialize.sync(),
    );
  return raw.ready();
}

/** SQLSTATE of the first error; "" where there is none. */
export function errorOf(answers: readonly Answer[]): string {
  const error = answers.find(({ type }) => type === "E");
  return error === undefined ? "" : (field(error, "C") ?? "");
}
