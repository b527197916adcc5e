// What a redirected pod waits for before its agent starts: the programs of the two init containers, as they stand in the image, one after the other.
import { execFileSync } from "node:child_process";

import { pod, PodNetwork, proxyUid, world } from "../integration/redirect-network.ts";
import { median, verdict, type Row } from "./table.ts";

const rounds = 9;
const verifierUid = 64_536;
/** Issue of redirection: both together. */
const floorMs = 500;

export async function redirectStart(): Promise<Row> {
  const cleanups: (() => unknown)[] = [];
  const network = await PodNetwork.create({ after: (done) => void cleanups.push(done) });
  try {
    await network.start("world", 0, "test/integration/redirect-world.ts");
    const init = (): number =>
      timed(network, 0, "dist/init.mjs", {
        CHAPERONE_PROXY_UID: String(proxyUid),
        CHAPERONE_INBOUND: "tcp:15020",
      });
    const inits = Array.from({ length: rounds }, init);
    await network.start("pod", proxyUid, "test/integration/redirect-proxy.ts", [world.v4]);
    const verify = (): number =>
      timed(network, verifierUid, "dist/verify.mjs", {
        KUBERNETES_SERVICE_HOST: world.v4,
        KUBERNETES_SERVICE_PORT: "6443",
        CHAPERONE_NODE_ADDRESSES: `${world.v4},${world.v6}`,
        CHAPERONE_POD_ADDRESSES: `${pod.v4},${pod.v6}`,
      });
    const verifies = Array.from({ length: rounds }, verify);
    const empty = Array.from({ length: rounds }, node);
    const both = median(inits) + median(verifies);
    return {
      what: "chaperone-init and chaperone-verify, each from its start to its end",
      measured: `${Math.round(both)} ms (${Math.round(median(inits))} and ${Math.round(median(verifies))})`,
      ratio: `an empty program of Node: ${Math.round(median(empty))} ms`,
      floor: `${floorMs} ms together`,
      goal: "",
      verdict: verdict(both < floorMs, undefined),
      why: "two starts of Node, one of nft, and as long as the slowest attempt to get out takes; what the kubelet and containerd need to make two containers comes on top",
    };
  } finally {
    for (const cleanup of cleanups) await cleanup();
  }
}

function timed(
  network: PodNetwork,
  uid: number,
  program: string,
  env: Readonly<Record<string, string>>,
): number {
  const started = performance.now();
  const { status, stderr } = network.run("pod", uid, program, [], env);
  const took = performance.now() - started;
  if (status !== 0) throw new Error(`${program} ended with ${status}: ${stderr}`);
  return took;
}

function node(): number {
  const started = performance.now();
  execFileSync(process.execPath, ["--eval", ""]);
  return performance.now() - started;
}
