// Which columns of a database are masked: those a mask names, and those that hold or show the same values.
//
// Reading a parent shows its children's rows under the parent's own number, and a generated column shows what it was
// computed from; a column of a table's row type holds whole rows of it. So a mask spreads along inheritance and partitioning in
// both directions, by column name, to generated columns, and to columns that hold rows. What a view shows is traced through its own query instead (lineage/).
import type { ColumnMask, MarkSource, Transform } from "../bundle.ts";
import { compilePattern, matches, type Pattern } from "../pattern.ts";
import { mergeMasks } from "../strictness.ts";
import { dotted } from "../sql/catalog-names.ts";
import { relationKey, type CatalogRelation, type MaskCatalog } from "./catalog.ts";

export interface MaskedColumn {
  /** `schema.table.column` */
  readonly column: string;
  readonly transform: Transform;
  /** Oid of its type. */
  readonly type: number;
  /** Equal for columns that are masked alike. */
  readonly key: string;
  /** Whether its values may choose rows, their order, number or grouping. */
  readonly predicates: "Allow" | "Deny";
  /** What its values put on the pod's session. */
  readonly marks?: readonly MarkSource[];
}

export interface MaskedColumns {
  /** By relation (`schema.name`), then column name. */
  readonly byName: ReadonlyMap<string, ReadonlyMap<string, MaskedColumn>>;
  /** By the table oid of a RowDescription field, then its attribute number. */
  readonly byOid: ReadonlyMap<number, ReadonlyMap<number, MaskedColumn>>;
  /** Masks that match no column of this database: a typing mistake, or a table that does not exist yet. */
  readonly unmatched: readonly ColumnMask[];
}

/**
 * The transform gives every value one result by a secret key: whoever may have values of their own masked by it can list
 * what values become, and so turn results back.
 */
export function isKeyed({ transform }: MaskedColumn): boolean {
  return transform.kind === "hash" || transform.kind === "tokenize";
}

/** Objects below this oid are PostgreSQL's own; every table of a user's has a larger one. */
export const firstUserOid = 16_384;

type Found = Map<string, Map<string, ColumnMask>>;

export function maskedColumns(masks: readonly ColumnMask[], catalog: MaskCatalog): MaskedColumns {
  const found: Found = new Map();
  const unmatched = masks.filter((mask) => !applyMask(mask, catalog, found));
  spread(catalog, found);
  const byName = new Map<string, Map<string, MaskedColumn>>();
  const byOid = new Map<number, Map<number, MaskedColumn>>();
  for (const [key, masks] of found) {
    const relation = catalog.relations.get(key);
    if (relation === undefined) continue;
    const names = new Map<string, MaskedColumn>();
    const numbers = new Map<number, MaskedColumn>();
    for (const { name, number, type } of relation.columns) {
      const mask = masks.get(name);
      if (mask === undefined) continue;
      const { transform, predicates = "Deny", marks } = mask;
      const key = JSON.stringify(transform);
      const column = dotted(relation.schema, relation.name, name);
      const masked: MaskedColumn = {
        column,
        transform,
        type,
        key,
        predicates,
        ...(marks !== undefined && { marks }),
      };
      names.set(name, masked);
      numbers.set(number, masked);
    }
    byName.set(key, names);
    byOid.set(relation.oid, numbers);
  }
  return { byName, byOid, unmatched };
}

/** Compared without case and with or without quotes: a mask that matches too much hides too much, never too little. */
function applyMask(mask: ColumnMask, catalog: MaskCatalog, found: Found): boolean {
  const pattern = compilePattern(mask.column.toLowerCase());
  let matched = false;
  for (const relation of catalog.relations.values()) {
    for (const { name } of relation.columns) {
      if (!names(pattern, relation, name)) continue;
      matched = true;
      add(found, relationKey(relation), name, mask);
    }
  }
  return matched;
}

function names(pattern: Pattern, { schema, name }: CatalogRelation, column: string): boolean {
  return (
    matches(pattern, [schema, name, column].join(".").toLowerCase()) ||
    matches(pattern, dotted(schema, name, column).toLowerCase())
  );
}

/** Returns whether anything changed. */
function add(found: Found, relation: string, column: string, mask: ColumnMask): boolean {
  const columns = found.get(relation) ?? new Map<string, ColumnMask>();
  found.set(relation, columns);
  const known = columns.get(column);
  const stricter = known === undefined ? mask : mergeMasks([known, mask]);
  if (known !== undefined && sameMask(known, stricter)) return false;
  columns.set(column, stricter);
  return true;
}

/** What is computed from a value is hidden whole: part of it could be another part of the value. */
function whole(mask: ColumnMask): ColumnMask {
  const { kind } = mask.transform;
  return kind === "redact" || kind === "nullify"
    ? mask
    : { ...mask, transform: { kind: "redact" } };
}

function sameMask(one: ColumnMask, other: ColumnMask): boolean {
  return (
    one.predicates === other.predicates &&
    JSON.stringify(one.marks) === JSON.stringify(other.marks) &&
    JSON.stringify(one.transform) === JSON.stringify(other.transform)
  );
}

/** Runs until nothing changes: every step masks one more column or masks it more strictly, so it ends. */
function spread(catalog: MaskCatalog, found: Found): void {
  for (let changed = true; changed;) {
    changed = false;
    for (const relation of catalog.relations.values()) {
      const key = relationKey(relation);
      for (const parent of relation.parents) {
        changed = shareColumns(found, catalog, parent, key) || changed;
        changed = shareColumns(found, catalog, key, parent) || changed;
      }
      for (const { name, generatedFrom, holds = [] } of relation.columns) {
        // What a view shows is known better.
        for (const held of relation.kind === "view" ? [] : holds)
          for (const mask of found.get(held)?.values() ?? [])
            changed = add(found, key, name, whole(mask)) || changed;
        for (const source of generatedFrom) {
          const mask = found.get(key)?.get(source);
          if (mask !== undefined) changed = add(found, key, name, whole(mask)) || changed;
        }
      }
    }
  }
}

function shareColumns(found: Found, catalog: MaskCatalog, from: string, to: string): boolean {
  let changed = false;
  const target = catalog.relations.get(to);
  for (const [column, mask] of found.get(from) ?? []) {
    if (target?.columns.some(({ name }) => name === column) === true) {
      changed = add(found, to, column, mask) || changed;
    }
  }
  return changed;
}
