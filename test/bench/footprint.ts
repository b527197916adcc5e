// Idle memory and time to ready of the proxy as it is shipped, with one protocol and with both.
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  addressMapVersion,
  type AddressMap,
  type ConnectionAddress,
} from "../../contract/addresses.ts";
import { planPort } from "./ports.ts";
import { median, type Row } from "./table.ts";

const runs = 5;
const idleMs = 2_000;
const readyTimeoutMs = 10_000;

interface Footprint {
  readonly readyMs: number;
  readonly rssMiB: number;
}

export async function footprint(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [name, protocols, floor, goal] of [
    ["openai only", ["openai"], "", "64 MiB"],
    ["postgres only", ["postgres"], "", "64 MiB"],
    ["both protocols", ["openai", "postgres"], "90 MiB", "80 MiB"],
  ] as const) {
    const seen: Footprint[] = [];
    for (let run = 0; run < runs; run += 1) seen.push(await measure(protocols));
    const rss = median(seen.map(({ rssMiB }) => rssMiB));
    const ready = median(seen.map(({ readyMs }) => readyMs));
    rows.push({
      what: `idle RSS, ${name}`,
      measured: `${rss.toFixed(0)} MiB`,
      ratio: "",
      floor,
      goal,
      verdict: floor === "" ? "no floor" : rss <= 90 ? "met" : "missed",
    });
    rows.push({
      what: `start to ready, ${name}`,
      measured: `${ready.toFixed(0)} ms`,
      ratio: "",
      floor: "",
      goal: "250 ms",
      verdict: "no floor",
    });
  }
  return rows;
}

async function measure(protocols: readonly ("openai" | "postgres")[]): Promise<Footprint> {
  const directory = await mkdtemp(join(tmpdir(), "chaperone-footprint-"));
  const connections = await Promise.all(
    protocols.map(async (protocol): Promise<ConnectionAddress> => ({
      connection: `bench/${protocol}`,
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
  await writeFile(join(directory, "token"), "none");
  const admin = await planPort();
  const started = performance.now();
  const child = spawn(
    process.execPath,
    ["--max-old-space-size=128", join(import.meta.dirname, "../../dist/proxy.mjs")],
    {
      stdio: "ignore",
      env: {
        CHAPERONE_OPERATOR_URL: "https://127.0.0.1:9",
        CHAPERONE_OPERATOR_CA: "none",
        CHAPERONE_NAMESPACE: "bench",
        CHAPERONE_SERVICE_ACCOUNT: "bench",
        CHAPERONE_POD: "bench",
        CHAPERONE_POD_UID: "bench",
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
    await new Promise((resolve) => setTimeout(resolve, idleMs));
    const status = await readFile(`/proc/${child.pid}/status`, "utf8");
    return { readyMs, rssMiB: Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? Number.NaN) / 1024 };
  } finally {
    child.kill("SIGKILL");
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
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  throw new Error(`the proxy was not ready within ${readyTimeoutMs} ms`);
}
