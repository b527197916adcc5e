// What Chaperone knows of a database to mask by: relations, columns, what derives from what. Plain data; the proxy loads it.
import { dotted } from "../sql/catalog-names.ts";

export type RelationKind = "table" | "view" | "other";

export interface CatalogColumn {
  readonly name: string;
  readonly number: number;
  /** Oid of its type, of a domain's base type; 0 where that is not known. */
  readonly type: number;
  /** Columns of the same relation that a generated column is computed from. */
  readonly generatedFrom: readonly string[];
  /** It is a generated column, if only from constants. */
  readonly generated?: boolean;
  /** Relations whose rows are in its values: it is of their row type, or of an array, domain, range or composite type around it. */
  readonly holds?: readonly string[];
}

export interface CatalogRelation {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** Tables include partitioned and foreign ones, views materialised ones; the rest are sequences, indexes and row types. */
  readonly kind: RelationKind;
  readonly columns: readonly CatalogColumn[];
  /** Inheritance parents and partitioned tables above, `schema.name`. */
  readonly parents: readonly string[];
  /** Rows that come to it go to its partitions. */
  readonly partitioned?: true;
  /** A parent or child of it was not loaded. */
  readonly strays?: true;
  /** What a view reads, `schema.name`. */
  readonly reads: readonly string[];
  /** A view whose query calls functions that are not PostgreSQL's own. */
  readonly callsFunctions: boolean;
  /** Writes to it are rewritten by rules, whose RETURNING may show anything. */
  readonly hasRules: boolean;
  /** The query of a view, written under the pinned search_path. */
  readonly definition?: string;
}

export interface MaskCatalog {
  /** By `schema.name`. */
  readonly relations: ReadonlyMap<string, CatalogRelation>;
  readonly byOid: ReadonlyMap<number, CatalogRelation>;
  /** Names of functions in `public`: an unqualified call may mean one of them. */
  readonly publicFunctions: ReadonlySet<string>;
  /** Of those, the ones that take one row, so that `t.name` and `(t).name` may call them. */
  readonly rowFunctions: ReadonlySet<string>;
  /** Operators in `public` written in a language that can run queries. */
  readonly queryOperators: ReadonlySet<string>;
}

export interface CatalogParts {
  readonly relations: readonly CatalogRelation[];
  readonly publicFunctions?: readonly string[];
  readonly rowFunctions?: readonly string[];
  readonly queryOperators?: readonly string[];
}

export function createMaskCatalog(parts: CatalogParts): MaskCatalog {
  return {
    relations: new Map(parts.relations.map((relation) => [relationKey(relation), relation])),
    byOid: new Map(parts.relations.map((relation) => [relation.oid, relation])),
    publicFunctions: new Set(parts.publicFunctions),
    rowFunctions: new Set(parts.rowFunctions),
    queryOperators: new Set(parts.queryOperators),
  };
}

export function relationKey({
  schema,
  name,
}: {
  readonly schema: string;
  readonly name: string;
}): string {
  return dotted(schema, name);
}
