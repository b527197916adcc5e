// Names in statements become uses of relations: schema given, CTEs told apart, temporary objects refused.
import type { StatementKind } from "../operation.ts";
import { asText, type Body } from "./ast.ts";
import { isTemporarySchema } from "./catalog-relations.ts";
import { aliasOf, isCte, type RangeItem, type RelationUse, type Scope } from "./scope.ts";
import type { Context } from "./walk-context.ts";

/** Reports a relation named in the statement (never a CTE) and returns it. */
export function relationUse(
  rangeVar: Body,
  context: Context,
  statement: StatementKind,
  hasWhere?: boolean,
): RelationUse {
  const schema = asText(rangeVar["schemaname"]);
  const resolved = context.names.resolveRelation(
    schema === "" ? undefined : schema,
    asText(rangeVar["relname"]),
  );
  refuseTemporary(resolved.schema, context);
  if (rangeVar["relpersistence"] === "t") {
    context.sink.refuse(
      "temporary objects can take the place of real ones and are refused; use a schema of your own",
    );
  }
  // The view's rule calls set_config for every row updated.
  if (
    statement !== "select" &&
    resolved.schema === "pg_catalog" &&
    resolved.name === "pg_settings"
  ) {
    context.sink.refuse("writing pg_settings is SET by another name and is pinned by Chaperone");
  }
  const use: RelationUse = {
    statement,
    ...resolved,
    ...(hasWhere === undefined ? {} : { hasWhere }),
    ...(rangeVar["inh"] === true ? {} : { only: true as const }),
    ...reachOf(context),
  };
  context.sink.relation(use);
  return use;
}

/** What a definition does to the relations it names besides what its kind says. */
export function reachOf({ leadsTo, cascades }: Context): Pick<RelationUse, "leadsTo" | "cascades"> {
  return {
    ...(leadsTo === undefined ? {} : { leadsTo }),
    ...(cascades === true ? { cascades } : {}),
  };
}

/** The range item of a base relation, under its alias or its own name. */
export function itemOf(rangeVar: Body, uses: readonly RelationUse[]): RangeItem {
  const alias = aliasOf(rangeVar);
  const [use] = uses;
  if (alias.name !== undefined || use === undefined) {
    return {
      alias: alias.name ?? asText(rangeVar["relname"]),
      relations: uses,
      renamed: alias.renamed,
    };
  }
  return { alias: use.name, schema: use.schema, relations: uses, renamed: alias.renamed };
}

/** True when an unqualified name in FROM is a CTE. */
export function namesCte(rangeVar: Body, scope: Scope): boolean {
  return asText(rangeVar["schemaname"]) === "" && isCte(scope, asText(rangeVar["relname"]));
}

export function splitName(parts: readonly string[]): [schema: string | undefined, name: string] {
  const name = parts[parts.length - 1] ?? "";
  return [parts.length > 1 ? parts[parts.length - 2] : undefined, name];
}

export function refuseTemporary(schema: string, context: Context): void {
  if (isTemporarySchema(schema)) {
    context.sink.refuse(
      "temporary objects can take the place of real ones and are refused; use a schema of your own",
    );
  }
}
