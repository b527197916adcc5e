// Idle memory and time to ready of the proxy as it is shipped, with one protocol and with both. Its operator is there: the stream is open.
//
//   node test/bench/footprint.ts
import { fork, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import {
  addressMapVersion,
  type AddressMap,
  type ConnectionAddress,
} from "../../contract/addresses.ts";
import { proxyNodeFlags } from "../../contract/node-flags.ts";
import type { ExchangeReady } from "./exchange-child.ts";
import { planPort } from "./ports.ts";
import {
  anonymousMiB,
  containerEnv,
  end,
  firstMessage,
  nodeFile,
  pause,
  residentMiB,
} from "./processes.ts";
import { markdown, median, verdict, type Row } from "./table.ts";

const runs = 5;
const idleMs = 3_000;
const readyTimeoutMs = 20_000;
const readyGoalMs = 250;

type Protocol = "openai" | "postgres";

interface Footprint {
  readonly readyMs: number;
  readonly rssMiB: number;
  readonly ownMiB: number;
}

const cases = [
  { name: "openai only", protocols: ["openai"], floor: undefined, goal: 64 },
  { name: "postgres only", protocols: ["postgres"], floor: undefined, goal: 64 },
  { name: "both protocols", protocols: ["openai", "postgres"], floor: 90, goal: 80 },
] as const;

export async function footprint(): Promise<Row[]> {
  const [, file = "", ...args] = nodeFile("exchange-child.ts", ["1", "tls"]);
  const child = fork(file, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  try {
    const operator = await firstMessage<ExchangeReady>(child, "the operator");
    const rows: Row[] = [];
    for (const { name, protocols, floor, goal } of cases) {
      const seen: Footprint[] = [];
      for (let run = 0; run < runs; run += 1) seen.push(await measure(protocols, operator));
      const rss = median(seen.map(({ rssMiB }) => rssMiB));
      const own = median(seen.map(({ ownMiB }) => ownMiB));
      const ready = median(seen.map(({ readyMs }) => readyMs));
      rows.push(
        {
          what: `idle RSS, ${name}`,
          measured: `${rss.toFixed(0)} MiB, ${own.toFixed(0)} MiB of it the process's own`,
          ratio: "",
          floor: floor === undefined ? "" : `${floor} MiB`,
          goal: `${goal} MiB`,
          verdict: verdict(floor === undefined ? undefined : rss <= floor, rss <= goal),
          why: "half of it is V8's heap, the compiled bundle, TLS and, with postgres, the SQL grammar (12 MiB); the rest is pages of Node's own program file, of which those that only its start read are given back a second after it is ready (proxy/start-memory.ts).",
        },
        {
          what: `start to ready, ${name}`,
          measured: `${ready.toFixed(0)} ms`,
          ratio: "",
          floor: "",
          goal: `${readyGoalMs} ms`,
          verdict: verdict(undefined, ready <= readyGoalMs),
          why: "Node itself starts in 40 ms; the rest is compiling the bundle and, with postgres, the SQL grammar.",
        },
      );
    }
    return rows;
  } finally {
    await end(child);
  }
}

async function measure(
  protocols: readonly Protocol[],
  operator: ExchangeReady,
): Promise<Footprint> {
  const directory = await mkdtemp(join(tmpdir(), "chaperone-footprint-"));
  const connections = await Promise.all(
    protocols.map(async (protocol): Promise<ConnectionAddress> => ({
      connection: `agents/${protocol}`,
      protocol,
      scheme: protocol === "postgres" ? "postgres" : "https",
      path: "",
      names: [`${protocol}.bench`],
      hosts: [],
      port: 443,
      endpoint: { address: "127.0.0.1", port: await planPort() },
    })),
  );
  const addresses: AddressMap = {
    version: addressMapVersion,
    interception: "endpoints",
    connections,
  };
  await writeFile(join(directory, "addresses"), JSON.stringify(addresses));
  await writeFile(join(directory, "token"), operator.tokens[0] ?? "", { mode: 0o600 });
  const admin = await planPort();
  const started = performance.now();
  const child = spawn(
    process.execPath,
    [...proxyNodeFlags, join(import.meta.dirname, "../../dist/proxy.mjs")],
    {
      stdio: ["ignore", "ignore", "inherit"],
      env: {
        ...containerEnv,
        CHAPERONE_OPERATOR_URL: operator.url,
        CHAPERONE_OPERATOR_CA: operator.ca,
        CHAPERONE_NAMESPACE: "agents",
        CHAPERONE_SERVICE_ACCOUNT: "invoice-agent",
        CHAPERONE_POD: "invoice-0",
        CHAPERONE_POD_UID: "6f1c0000-0000-4000-8000-000000000000",
        CHAPERONE_ADDRESSES_FILE: join(directory, "addresses"),
        CHAPERONE_TOKEN_FILE: join(directory, "token"),
        CHAPERONE_SPOOL: join(directory, "spool"),
        CHAPERONE_AUTHORITY: join(directory, "authority"),
        CHAPERONE_TRUST_FILE: join(directory, "ca.crt"),
        CHAPERONE_ADMIN_PORT: String(admin),
      },
    },
  );
  try {
    await untilReady(admin);
    const readyMs = performance.now() - started;
    await pause(idleMs);
    const pid = child.pid ?? 0;
    return { readyMs, rssMiB: await residentMiB(pid), ownMiB: await anonymousMiB(pid) };
  } finally {
    await end(child, "SIGKILL");
    await rm(directory, { recursive: true, force: true });
  }
}

async function untilReady(port: number): Promise<void> {
  const deadline = Date.now() + readyTimeoutMs;
  while (Date.now() < deadline) {
    const answered = await fetch(`http://127.0.0.1:${port}/readyz`).then(
      (response) => response.ok,
      () => false,
    );
    if (answered) return;
    await pause(5);
  }
  throw new Error(`the proxy was not ready within ${readyTimeoutMs} ms`);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href)
  process.stdout.write(markdown(await footprint()));
