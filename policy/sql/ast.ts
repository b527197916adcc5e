// Reads the JSON syntax tree of libpg-query without trusting its shape: what is missing or odd reads as empty, never throws.

export type Body = Readonly<Record<string, unknown>>;

/** A node with its PostgreSQL tag (`SelectStmt`, `ColumnRef` …). */
export interface Tagged {
  readonly tag: string;
  readonly body: Body;
}

export function asBody(value: unknown): Body | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Body)
    : undefined;
}

export function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function asText(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/**
 * The tag of a node. Fields typed as `Node` wrap it (`{"RangeVar": {…}}`); fields of one fixed type hold the body bare,
 * and the few bare types that matter here are told by a field that only they have.
 */
export function tagged(value: unknown): Tagged | undefined {
  const body = asBody(value);
  if (body === undefined) return undefined;
  const keys = Object.keys(body);
  const [only] = keys;
  if (only !== undefined && keys.length === 1 && /^[A-Z]/.test(only)) {
    const inner = asBody(body[only]);
    if (inner !== undefined) return { tag: only, body: inner };
  }
  return { tag: bareTag(body), body };
}

function bareTag(body: Body): string {
  if ("relname" in body) return "RangeVar";
  if ("funcname" in body) return "FuncCall";
  if (typeof body["op"] === "string" && body["op"].startsWith("SETOP_")) return "SelectStmt";
  if (Array.isArray(body["names"])) return "TypeName";
  if (Array.isArray(body["ctes"])) return "WithClause";
  return "";
}

/** The body under a node field when it has the tag asked for. */
export function bodyOf(value: unknown, tag: string): Body | undefined {
  const node = tagged(value);
  return node?.tag === tag ? node.body : undefined;
}

/** The bodies of the nodes of one tag in a list; others are left out. */
export function bodiesOf(list: unknown, tag: string): Body[] {
  const bodies: Body[] = [];
  for (const item of asList(list)) {
    const body = bodyOf(item, tag);
    if (body !== undefined) bodies.push(body);
  }
  return bodies;
}

/** The identifiers in a list of String nodes; other nodes (A_Star, A_Indices) are left out. */
export function strings(value: unknown): string[] {
  return asList(value).flatMap((item) => {
    const body = bodyOf(item, "String");
    return body === undefined ? [] : [asText(body["sval"])];
  });
}

/** Calls `visit` for every node directly below this body. */
export function forEachChild(body: Body, visit: (node: Tagged) => void): void {
  for (const value of Object.values(body)) visitValue(value, visit);
}

function visitValue(value: unknown, visit: (node: Tagged) => void): void {
  if (typeof value !== "object" || value === null) return;
  if (Array.isArray(value)) {
    for (const item of value) visitValue(item, visit);
    return;
  }
  const node = tagged(value);
  if (node !== undefined) visit(node);
}

/** The value of a constant node as text; undefined when it is no constant. Null constants read as undefined too. */
export function constantText(value: unknown): string | undefined {
  const constant = bodyOf(value, "A_Const");
  if (constant === undefined) {
    const cast = bodyOf(value, "TypeCast");
    return cast === undefined ? undefined : constantText(cast["arg"]);
  }
  const string = asBody(constant["sval"]);
  if (string !== undefined) return asText(string["sval"]);
  const integer = asBody(constant["ival"]);
  if (integer !== undefined)
    return typeof integer["ival"] === "number" ? String(integer["ival"]) : "0";
  const float = asBody(constant["fval"]);
  if (float !== undefined) return asText(float["fval"]);
  const boolean = asBody(constant["boolval"]);
  return boolean === undefined ? undefined : boolean["boolval"] === true ? "true" : "false";
}

/** Levels of nested objects and arrays, measured without recursion so that no tree can overflow the stack here. */
export function jsonDepthExceeds(root: unknown, limit: number): boolean {
  let level: unknown[] = [root];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > limit) return true;
    const next: unknown[] = [];
    for (const value of level) {
      for (const child of Object.values(value as object)) {
        if (typeof child === "object" && child !== null) next.push(child);
      }
    }
    level = next;
  }
  return false;
}
