// `pods`: how strongly each injected pod is held, and the first thing that is missing.
import type { Backend } from "../backend.ts";
import { json, table } from "../output.ts";

export async function list(backend: Backend, options: { output: string }): Promise<void> {
  try {
    const rows = await backend.pods();
    if (options.output === "json") process.stdout.write(json(rows));
    else if (rows.length === 0) process.stderr.write("no pod is injected\n");
    else
      process.stdout.write(
        table(
          ["NAMESPACE", "POD", "PHASE", "HELD", "TIER", "MESSAGE"],
          rows.map((row) => [row.namespace, row.name, row.phase, row.held, row.tier, row.message]),
        ),
      );
  } finally {
    await backend.close();
  }
}
