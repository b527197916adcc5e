import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { notation } from "./access-notation.ts";
import { createCatalogNames } from "./catalog-names.ts";
import { createCollector } from "./collect.ts";
import { walkStatement } from "./walk-statement.ts";

const names = createCatalogNames();

function touched(node: unknown): string[] {
  const collector = createCollector(names, undefined);
  walkStatement(node, collector.sink, names);
  const { accesses, refusals } = collector.finish();
  return [...accesses.map(notation), ...refusals.map((sentence) => `refused: ${sentence}`)];
}

const table = (relname: string) => ({ relname, inh: true, relpersistence: "p" });
const select = (from: string, target: unknown = { A_Const: { ival: { ival: 1 } } }) => ({
  SelectStmt: {
    targetList: [{ ResTarget: { val: target } }],
    fromClause: [{ RangeVar: table(from) }],
    op: "SETOP_NONE",
  },
});

describe("nodes of a grammar to come", () => {
  test("a statement kind nobody knows is `other`, opaque, and gives up the relations, queries and functions inside", () => {
    const future = {
      FutureStmt: {
        relation: table("t"),
        query: select("u"),
        call: { FuncCall: { funcname: [{ String: { sval: "f" } }] } },
        deep: [{ Odd: { rel: table("v") } }],
      },
    };
    assert.deepEqual(touched(future), [
      "other public.t(*)",
      "select public.u()",
      "other public.v(*)",
      "other public.f() !",
      "other !",
    ]);
  });

  test("an expression nobody knows does not hide what is inside it", () => {
    const odd = {
      FutureExpr: {
        inner: { FuncCall: { funcname: [{ String: { sval: "f" } }] } },
        sub: { SubLink: { subselect: select("u") } },
        rel: table("v"),
      },
    };
    assert.deepEqual(touched(select("t", odd)), [
      "select public.t()",
      "select public.u()",
      "select public.v(*)",
      "select public.f() !",
    ]);
  });

  test("a FROM item nobody knows does not either", () => {
    const node = {
      SelectStmt: {
        targetList: [],
        fromClause: [{ RangeFuture: { source: table("t"), query: select("u") } }],
        op: "SETOP_NONE",
      },
    };
    assert.deepEqual(touched(node), ["select public.t(*)", "select public.u()"]);
  });

  test("a WITH clause in a place nobody knows is refused, because its names could not be scoped", () => {
    const node = { FutureStmt: { withClause: { ctes: [] } } };
    assert.deepEqual(touched(node), [
      "other !",
      "refused: a WITH clause stands where it cannot be understood",
    ]);
  });

  test("what is no node at all is refused", () => {
    for (const value of [undefined, null, 1, "x", []])
      assert.deepEqual(touched(value), ["refused: the statement has no kind"]);
  });
});

test("every statement kind of this grammar is on a list; none falls through to `other` unnoticed", () => {
  const types = readFileSync(
    new URL("../../node_modules/@pgsql/types/types.d.ts", import.meta.url),
    "utf8",
  );
  const kinds = [...types.matchAll(/export interface (\w+Stmt) /g)].map(([, name = ""]) => name);
  assert.ok(kinds.length > 100);
  // Wrappers and pieces of PL/pgSQL that never stand at the top.
  const inner = new Set([
    "RawStmt",
    "SetOperationStmt",
    "ReturnStmt",
    "PLAssignStmt",
    "ReplicaIdentityStmt",
  ]);
  const unlisted = kinds.filter(
    (kind) =>
      !inner.has(kind) && kind !== "LoadStmt" && touched({ [kind]: {} }).includes("other !"),
  );
  assert.deepEqual(unlisted, []);
});
