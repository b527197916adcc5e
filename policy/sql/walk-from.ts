// Walks FROM: registers what each item is called before it walks any condition, function or sub-select inside.
import { asBody, asList, asText, bodyOf, strings, tagged, type Body } from "./ast.ts";
import { itemOf, namesCte, relationUse } from "./relation-use.ts";
import { aliasOf, type RangeItem } from "./scope.ts";
import { inPlace, maxRangeItems, type Context } from "./walk-context.ts";
import { walkExpression } from "./walk-expression.ts";

/** Adds the items of a FROM list to the context's scope and walks what they contain. */
export function fromClause(list: unknown, context: Context): void {
  const later: (() => void)[] = [];
  for (const item of asList(list)) fromItem(item, context, later);
  for (const run of later) run();
}

/** Returns the items below, for the join above. */
function fromItem(value: unknown, context: Context, later: (() => void)[]): RangeItem[] {
  const node = tagged(value);
  if (node === undefined) return [];
  const { tag, body } = node;
  const inner = inPlace(context, "FROM");
  switch (tag) {
    case "RangeVar":
      return [add(context, rangeItem(body, context))];
    case "JoinExpr":
      return join(body, context, later);
    case "RangeTableSample": {
      const below = fromItem(body["relation"], context, later);
      later.push(() => {
        const method = strings(body["method"]);
        // TABLESAMPLE calls a function: `system` and `bernoulli` are PostgreSQL's own.
        if (method.length !== 1 || !["system", "bernoulli"].includes(method[0] ?? "")) {
          const [name = "", schema] = method.toReversed();
          context.sink.call(
            context.names.resolveFunction(schema, name),
            "select",
            schema === undefined,
          );
        }
        walkExpression(body["args"], inner);
        walkExpression(body["repeatable"], inner);
      });
      return below;
    }
    case "RangeSubselect": {
      // Only LATERAL sees its neighbours.
      const scope =
        body["lateral"] === true ? context.scope : (context.scope.parent ?? context.scope);
      later.push(() => {
        const query = tagged(body["subquery"]);
        if (query !== undefined)
          context.query(query, { ...context, scope, place: "FROM", top: false }, false);
      });
      return [add(context, derived(body))];
    }
    default:
      // RangeFunction, RangeTableFunc, JsonTable, and whatever a later grammar adds.
      later.push(() => walkExpression(value, inner));
      return [add(context, derived(body))];
  }
}

function rangeItem(rangeVar: Body, context: Context): RangeItem {
  if (namesCte(rangeVar, context.scope)) {
    const alias = aliasOf(rangeVar);
    return {
      alias: alias.name ?? asText(rangeVar["relname"]),
      relations: [],
      renamed: alias.renamed,
    };
  }
  const item = itemOf(rangeVar, [relationUse(rangeVar, context, "select")]);
  // `AS c(a, b)`: the names used from here on are not the relation's, so every column counts.
  if (item.renamed) for (const use of item.relations) context.sink.listed(use, "all", false);
  return item;
}

function derived(body: Body): RangeItem {
  const alias = aliasOf(body);
  return { alias: alias.name ?? "", relations: [], renamed: alias.renamed };
}

function join(body: Body, context: Context, later: (() => void)[]): RangeItem[] {
  const items = [
    ...fromItem(body["larg"], context, later),
    ...fromItem(body["rarg"], context, later),
  ];
  const using = strings(body["usingClause"]);
  if (body["isNatural"] === true) context.sink.join("natural", items);
  else if (using.length > 0) context.sink.join(using, items);
  later.push(() => walkExpression(body["quals"], inPlace(context, "a join condition")));
  const alias = aliasOf(body);
  // Each once: a join with an alias stands for all of its own, so that aliases in one another would double them at every level.
  const relations = [...new Set(items.flatMap((item) => item.relations))];
  if (alias.name !== undefined) {
    if (alias.renamed) for (const use of relations) context.sink.listed(use, "all", false);
    items.push(add(context, { alias: alias.name, relations, renamed: alias.renamed }));
  }
  const usingAlias = asBody(body["join_using_alias"]);
  const usingName =
    usingAlias === undefined
      ? ""
      : asText((bodyOf(usingAlias, "Alias") ?? usingAlias)["aliasname"]);
  if (usingName !== "") items.push(add(context, { alias: usingName, relations, renamed: false }));
  return items;
}

function add(context: Context, item: RangeItem): RangeItem {
  context.budget.items += 1;
  if (context.budget.items > maxRangeItems) {
    context.sink.refuse(
      `the statement names more than ${maxRangeItems} relations; split it into smaller ones`,
    );
  } else context.scope.items.push(item);
  return item;
}
