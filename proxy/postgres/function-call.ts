// FunctionCall of the protocol: it names a function by number, so the name that rules know is asked of the server before it is decided.
import { permits, type Bundle } from "../../policy/bundle.ts";
import type { SqlOperation } from "../../policy/operation.ts";
import { dotted } from "../../policy/sql/catalog-names.ts";
import { bounded } from "./bounded.ts";
import type { Exchange } from "./exchange.ts";
import { headerBytes, WireError } from "./framer.ts";
import { understand } from "./understanding.ts";
import type { Understood } from "./understanding.ts";
import { viewpointOf } from "./viewpoint.ts";

/** A look-up by number in the catalog takes no time; a server that does not answer must not hold the client for ever. */
const lookUpTimeoutMs = 15_000;

/** SET by another name: which setting it is about can only be read in SQL. */
const setter = "pg_catalog.set_config";

export interface CalledFunction {
  /** `schema.name`; undefined when there is none of that number, or none that may be called in this way. */
  readonly name: string | undefined;
}

/** Whether any rule speaks of functions by name; else there is nothing to ask. */
export function mayAllowFunctions({ rules }: Bundle): boolean {
  return rules.some((rule) => permits(rule) && rule.sql?.functions !== undefined);
}

/** Nothing may be outstanding, and the caller keeps the client from sending anything meanwhile. */
export async function lookUpFunction(
  exchange: Exchange,
  buffer: Buffer,
  start: number,
  end: number,
): Promise<CalledFunction> {
  if (end - start < headerBytes + 4) throw new WireError("a FunctionCall without a function");
  const oid = buffer.readUInt32BE(start + headerBytes);
  const deadline = bounded(lookUpTimeoutMs);
  try {
    const { look } = await deadline.race(viewpointOf(exchange, false));
    const rows = await deadline.race(
      look((ask) =>
        ask(
          `SELECT space.nspname, called.proname FROM pg_catalog.pg_proc AS called JOIN pg_catalog.pg_namespace AS space ON space.oid OPERATOR(pg_catalog.=) called.pronamespace WHERE called.oid OPERATOR(pg_catalog.=) ${oid}::pg_catalog.oid`,
        ),
      ),
    );
    const [schema, name] = rows[0] ?? [];
    if (typeof schema !== "string" || typeof name !== "string") return { name: undefined };
    const called = dotted(schema, name);
    return { name: called === setter ? undefined : called };
  } finally {
    deadline.clear();
  }
}

/** The call as an operation: covered only by a rule that names the function. Its arguments, as sent, stand in the text that approvals bind to. */
export function understandCall(name: string, argumentBytes: Buffer): Understood {
  const operation: SqlOperation = {
    kind: "sql",
    summary: `function call ${name}`,
    accesses: [{ kind: "function", statement: "select", function: name, safe: false }],
    facts: {
      statements: ["select"],
      relationsRead: [],
      relationsWritten: [],
      columns: [],
      functions: [name],
      hasWhere: false,
      count: 1,
    },
    params: [],
  };
  return understand(`function call ${name} ${argumentBytes.toString("base64")}`, { operation });
}
