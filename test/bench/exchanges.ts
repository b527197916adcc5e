// Token exchanges a second at the operator's API in a process of its own on one core: a proof for each request, a grant with bundle and
// lease for each answer. A local issuer stands for the API server: in a cluster as here, a token's signature is checked once in 30 s,
// and so is asked whether it still holds; the leg is plain loopback.
//
//   node test/bench/exchanges.ts [seconds]
import { pathToFileURL } from "node:url";
import { connectionAudience } from "../../contract/control.ts";
import { OperatorClient } from "../../proxy/grant/client.ts";
import { ProofKey } from "../../proxy/grant/keys.ts";
import type { ExchangeReady } from "./exchange-child.ts";
import {
  end,
  firstMessage,
  nodeFile,
  onProxyCore,
  operatorFlags,
  pinLoad,
  processorMs,
} from "./processes.ts";
import { count, markdown, median, percentile, verdict } from "./table.ts";
import type { Row } from "./table.ts";

const goal = 2_000;
const rounds = 3;
const warmSeconds = 1;
/** Each with a key and a connection of its own, as proxies have; the operator limits what one key may ask in a minute. */
const pods = 500;
/** How many of them ask at the same time. */
const parallel = 16;

export async function exchanges(seconds = 3): Promise<Row[]> {
  await pinLoad();
  const child = onProxyCore(nodeFile("exchange-child.ts", [String(pods)], operatorFlags), "ipc");
  const proxies: OperatorClient[] = [];
  try {
    const { url, tokens } = await firstMessage<ExchangeReady>(child, "the operator");
    for (const token of tokens) {
      const key = await ProofKey.create(Date.now);
      proxies.push(new OperatorClient({ address: { url }, key, readToken: async () => token }));
    }
    const perSecond: number[] = [];
    const cpuUs: number[] = [];
    let latencies = await load(proxies, warmSeconds);
    for (let round = 0; round < rounds; round += 1) {
      const before = await processorMs(child.pid ?? 0);
      latencies = await load(proxies, seconds);
      const spentMs = (await processorMs(child.pid ?? 0)) - before;
      perSecond.push(latencies.length / seconds);
      cpuUs.push((spentMs * 1_000) / latencies.length);
    }
    const rate = median(perSecond);
    const p50 = percentile(latencies, 0.5).toFixed(1);
    const p99 = percentile(latencies, 0.99).toFixed(1);
    return [
      {
        what: `token exchanges (RFC 8693 with DPoP) of one operator on one core, ${pods} pods, ${parallel} at a time`,
        measured: `${count(rate)}/s, ${count(median(cpuUs))} µs of processor, p50 ${p50} ms, p99 ${p99} ms`,
        ratio: "",
        floor: "",
        goal: `${count(goal)}/s`,
        verdict: verdict(undefined, rate >= goal),
        why: "the proof's signature is checked and the grant's is made, some 0.15 ms of arithmetic; the rest is HTTP, the bundle's JSON and the checks between, and everything runs on one thread.",
      },
    ];
  } finally {
    for (const proxy of proxies) await proxy.close();
    await end(child);
  }
}

/** Pods take turns, so that none asks more often than it may. */
async function load(proxies: readonly OperatorClient[], seconds: number): Promise<number[]> {
  const deadline = performance.now() + seconds * 1_000;
  const latencies: number[] = [];
  const { signal } = new AbortController();
  let next = 0;
  const one = async (): Promise<void> => {
    while (performance.now() < deadline) {
      const proxy = proxies[next++ % proxies.length];
      const started = performance.now();
      await proxy?.exchange(connectionAudience("agents", "orders-db"), signal);
      latencies.push(performance.now() - started);
    }
  };
  await Promise.all(Array.from({ length: parallel }, one));
  return latencies;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href)
  process.stdout.write(markdown(await exchanges(Number(process.argv[2] ?? 3))));
