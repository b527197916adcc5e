// Reads PostgreSQL's own names from a running server and renders `policy/sql/catalog-names.gen.ts` from them.
import pg from "pg";
import {
  allFunctionNamesQuery,
  functionsQuery,
  operatorNamesQuery,
  relationNamesQuery,
  rowFunctionNamesQuery,
  renderCatalogNames,
  typeNamesQuery,
  type FunctionRow,
} from "../../policy/sql/generate-safe-functions.ts";

export const generatedFile = new URL("../../policy/sql/catalog-names.gen.ts", import.meta.url);

export async function catalogNamesOf(connectionString: string): Promise<string> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    const names = async (query: string): Promise<string[]> =>
      (await client.query<{ name: string }>(query)).rows.map(({ name }) => name);
    const version = (
      await client.query<{ version: string }>("SELECT split_part(version(), ' ', 2) AS version")
    ).rows[0];
    return renderCatalogNames(
      {
        functions: (await client.query<FunctionRow>(functionsQuery)).rows,
        functionNames: await names(allFunctionNamesQuery),
        rowFunctionNames: await names(rowFunctionNamesQuery),
        relationNames: await names(relationNamesQuery),
        typeNames: await names(typeNamesQuery),
        operatorNames: await names(operatorNamesQuery),
      },
      version?.version ?? "unknown",
    );
  } finally {
    await client.end();
  }
}
