// `make unit`: unit and property tests, divided over processes that each run many files. A process per file would cost more than most files' tests do.
import { availableParallelism } from "node:os";
import { runAll, type Step } from "./steps.ts";

const folders = ["crds", "contract", "policy", "proxy", "operator", "cli", "scripts"];
/** Two lanes are what `runAll` has. */
const shards = Math.min(2, availableParallelism());

/** The tests of every folder with code, one step a process. What measures memory collects garbage first, and nothing of a file may be left open. */
export const unitSteps: readonly Step[] = Array.from({ length: shards }, (_, at) => ({
  name: `unit and property tests, part ${at + 1} of ${shards}`,
  command: [
    process.execPath,
    "--test",
    "--test-isolation=none",
    `--test-shard=${at + 1}/${shards}`,
    ...folders.map((folder) => `${folder}/**/*.test.ts`),
  ],
}));

if (import.meta.main) await runAll({ steps: unitSteps.slice(0, 1), beside: unitSteps.slice(1) });
