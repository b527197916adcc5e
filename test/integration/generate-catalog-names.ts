// `node test/integration/generate-catalog-names.ts` rewrites the generated list from a fresh PostgreSQL 18.
import { writeFile } from "node:fs/promises";
import { catalogNamesOf, generatedFile } from "./catalog-names.ts";
import { startPostgres } from "./postgres-server.ts";

const server = await startPostgres();
try {
  await writeFile(generatedFile, await catalogNamesOf(server.superuserUrl));
} finally {
  await server.stop();
}
