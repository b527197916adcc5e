// Writes accesses as short lines, for tests to compare: `select public.t(a,*)`, `update public.t(a) where`, `select pg_catalog.now() ~`.
import type { Access } from "../operation.ts";

/** `*` means every column, `~` session basics, `!` unsafe or opaque. */
export function notation(access: Access): string {
  const basic = "basic" in access && access.basic === true ? " ~" : "";
  switch (access.kind) {
    case "relation": {
      const columns = access.columns.map((column) => column.slice(access.relation.length + 1));
      const where = access.hasWhere === undefined ? "" : access.hasWhere ? " where" : " everything";
      return `${access.statement} ${access.relation}(${[...columns, ...(access.allColumns ? ["*"] : [])].join(",")})${where}${basic}`;
    }
    case "function":
      return `${access.statement} ${access.function}()${access.safe ? "" : " !"}${basic}`;
    case "statement":
      return `${access.statement}${access.opaque === true ? " !" : ""}${basic}`;
    default:
      return access.kind;
  }
}
