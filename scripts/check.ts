// `make check`: format, lint, types, generated files and unit tests, all of them even when one fails. Under a minute.
import { runAll } from "./steps.ts";
import { unitSteps } from "./unit.ts";

const bin = "node_modules/.bin";
await runAll({
  steps: [
    { name: "format", command: [`${bin}/oxfmt`, "--check"] },
    { name: "lint", command: [`${bin}/oxlint`, "--type-aware", "--deny-warnings"] },
    { name: "types", command: [`${bin}/tsc`, "--noEmit"] },
    { name: "generated files", command: [process.execPath, "scripts/generate.ts", "--check"] },
    ...unitSteps.slice(0, 1),
  ],
  beside: unitSteps.slice(1),
});
