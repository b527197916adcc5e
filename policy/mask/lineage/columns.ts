// Columns as the lineage engine sees them: what each is called, and which masked columns' values may be in it.
import { isKeyed, type MaskedColumn } from "../masked-columns.ts";

/** The masked columns whose values may be in a value, over-approximated. */
export type Taint = ReadonlySet<MaskedColumn>;

export const clean: Taint = new Set();

export function union(...taints: readonly Taint[]): Taint {
  return unionOf(taints);
}

/** One set for all of them, however many there are. */
export function unionOf(taints: Iterable<Taint>): Taint {
  let all: Taint = clean;
  let own: Set<MaskedColumn> | undefined;
  for (const taint of taints) {
    if (taint.size === 0 || taint === all) continue;
    if (all.size === 0) all = taint;
    else {
      own ??= new Set(all);
      for (const masked of taint) own.add(masked);
      all = own;
    }
  }
  return all;
}

/** Table oid and attribute number that RowDescription carries for a column that is nothing but this one. */
export interface Origin {
  readonly table: number;
  readonly attribute: number;
}

export interface Column {
  /** Undefined where it cannot be told: it may be called anything. */
  readonly name: string | undefined;
  readonly taint: Taint;
  /** The value is that of this masked column, untouched, or nothing masked at all: its own transform may be applied. */
  readonly identity?: MaskedColumn | undefined;
  /** Only of columns that a star brought in; what came must be what was counted on. */
  readonly origin?: Origin | undefined;
  /** A generated column of a table: COPY leaves it out unless it is named. */
  readonly generated?: boolean;
  /** Stands for any number of columns, none among them. */
  readonly many?: boolean;
}

/** What a query, a relation or a FROM item yields. */
export interface Rows {
  readonly columns: readonly Column[];
  /**
   * A star over a relation that the agent may be able to alter: by the time the statement runs, the columns may stand in
   * other places than the catalog says.
   */
  readonly shifty: boolean;
}

export const noRows: Rows = { columns: [], shifty: false };

export function wholeOf(columns: readonly Column[]): Taint {
  return unionOf(columns.map(({ taint }) => taint));
}

/** Any number of columns with any names. */
export function unknownColumns(taint: Taint): Column {
  return { name: undefined, taint, many: true };
}

/** Before columns are told by their place: where places are uncertain, each may be any. */
export function byPlace({ columns, shifty }: Rows): readonly Column[] {
  const whole = wholeOf(columns);
  if (whole.size === 0 || (!shifty && !columns.some(({ many }) => many === true))) return columns;
  return columns.map(({ name, many }) => ({
    name,
    taint: whole,
    ...(many === true ? { many } : {}),
  }));
}

/** `AS x(a, b)`: the first columns get names of their own. */
export function renamed(rows: Rows, names: readonly string[]): Rows {
  if (names.length === 0) return rows;
  const columns = byPlace(rows);
  if (columns.some(({ many }) => many === true)) {
    const whole = wholeOf(columns);
    return {
      columns: [...names.map((name) => ({ name, taint: whole })), unknownColumns(whole)],
      shifty: rows.shifty,
    };
  }
  return {
    columns: columns.map((column, index) => ({ ...column, name: names[index] ?? column.name })),
    shifty: rows.shifty,
  };
}

/** Column by column: UNION and its kin, and the rounds of a recursive query. The names are the first one's. */
export function merged(first: Rows, second: Rows): Rows {
  const one = byPlace(first);
  const other = byPlace(second);
  const even = one.length === other.length;
  const uncertain = [...one, ...other].some(({ many }) => many === true) || !even;
  const shifty = first.shifty || second.shifty;
  const whole = union(wholeOf(one), wholeOf(other));
  if (uncertain)
    return {
      columns: one.map(({ name, many }) => ({
        name,
        taint: whole,
        ...(many === true ? { many } : {}),
      })),
      shifty,
    };
  const columns = one.map((column, index): Column => {
    const match = other[index] ?? column;
    return {
      name: column.name,
      taint: union(column.taint, match.taint),
      identity: sameIdentity(column, match),
    };
  });
  return { columns: columns, shifty };
}

/**
 * Two columns under one transform are masked alike. What holds nothing masked goes through it as well, but never through a key.
 *
 * PostgreSQL converts both to one type, a date to an instant by the session's time zone: a transform that shows part of a value
 * would then show another part. So beside a column of another type, or of one that is not known, it must show none.
 */
function sameIdentity(one: Column, other: Column): MaskedColumn | undefined {
  const identity = one.identity ?? other.identity;
  if (identity === undefined) return undefined;
  const agrees = ({ taint, identity: own }: Column): boolean =>
    taint.size === 0
      ? !isKeyed(identity) && survivesConversion(identity)
      : own?.key === identity.key && (own.type === identity.type || survivesConversion(identity));
  return agrees(one) && agrees(other) ? identity : undefined;
}

/** name, text, char, varchar: converted into one another a value stays written as it was. */
const texts: ReadonlySet<number> = new Set([19, 25, 1042, 1043]);
const showsNothing: ReadonlySet<string> = new Set(["redact", "nullify", "fixed"]);

function survivesConversion({ transform, type }: MaskedColumn): boolean {
  return texts.has(type) || showsNothing.has(transform.kind);
}

export function sameRows(one: Rows, other: Rows): boolean {
  return (
    one.columns.length === other.columns.length &&
    one.columns.every((column, index) => {
      const match = other.columns[index];
      return (
        match !== undefined &&
        match.name === column.name &&
        match.many === column.many &&
        match.identity === column.identity &&
        match.taint.size === column.taint.size &&
        [...column.taint].every((masked) => match.taint.has(masked))
      );
    })
  );
}

/** The columns of a result that has this many; undefined when it cannot have. */
export function placed({ columns }: Rows, count: number): readonly Column[] | undefined {
  const from = columns.findIndex(({ many }) => many === true);
  if (from < 0) return columns.length === count ? columns : undefined;
  const to = columns.findLastIndex(({ many }) => many === true) + 1;
  const uncertain = columns.slice(from, to);
  const size = count - (columns.length - uncertain.length);
  if (size < uncertain.filter(({ many }) => many !== true).length) return undefined;
  const any: Column = { name: undefined, taint: wholeOf(uncertain) };
  return [
    ...columns.slice(0, from),
    ...Array.from({ length: size }, () => any),
    ...columns.slice(to),
  ];
}
