// What redirection costs over the listeners of interception `hosts`: the same proxy, reached both ways by one program, in a network namespace with the rules.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

import { lacking } from "../integration/redirect-network.ts";
import { redirectStart } from "./redirect-start.ts";
import { leftOut, median, percentile, verdict, type Row } from "./table.ts";

const proxyUid = 64_535;
const agentUid = 64_600;
const direct = "127.0.64.1";
const virtual = "198.18.64.1";
const port = 5_555;
const connections = 3_000;
const trips = 5_000;
const megabytes = 512;
/** Issue of redirection: at the median. */
const floorMs = 0.05;

interface Measured {
  readonly connect: readonly (readonly number[])[];
  readonly trip: readonly (readonly number[])[];
  readonly upload: readonly (readonly number[])[];
}

export async function redirect(): Promise<Row[]> {
  const why = await lacking();
  if (why !== undefined) return [leftOut("redirection", why)];
  const holder = spawn("unshare", ["--net", "sh", "-c", "echo up; exec sleep 600"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(holder.stdout, "data");
  const inside = ["--target", String(holder.pid), "--net"];
  const asUser = (uid: number, program: string, args: readonly string[]): string[] => {
    const user = ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", "--"];
    return [...inside, ...user, process.execPath, join(import.meta.dirname, program), ...args];
  };
  try {
    const lines = [
      "ip link set lo up",
      "ip link add eth0 type veth peer name eth1",
      "ip addr add 10.78.0.2/24 dev eth0",
      "ip link set eth0 up && ip link set eth1 up",
      "ip route add default via 10.78.0.1",
    ];
    execFileSync("nsenter", [...inside, "sh", "-ec", lines.join("\n")]);
    const init = join(import.meta.dirname, "../../proxy/redirect/init.ts");
    execFileSync("nsenter", [...inside, process.execPath, init], {
      env: { PATH: process.env.PATH, CHAPERONE_PROXY_UID: String(proxyUid) },
    });
    const proxy = spawn(
      "nsenter",
      asUser(proxyUid, "redirect-child.ts", [direct, virtual, String(port)]),
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    await once(proxy.stdout, "data");
    const said = execFileSync(
      "nsenter",
      asUser(
        agentUid,
        "redirect-load.ts",
        [port, connections, trips, megabytes, direct, virtual].map(String),
      ),
      { encoding: "utf8", maxBuffer: 16 * 1024 * 1024 },
    );
    proxy.kill("SIGKILL");
    return [...rows(JSON.parse(said) as Measured), await redirectStart()];
  } finally {
    holder.kill("SIGKILL");
  }
}

function rows({ connect, trip, upload }: Measured): Row[] {
  const latency = (
    what: string,
    [straight = [], redirected = []]: readonly (readonly number[])[],
  ): Row => {
    const added = median(redirected) - median(straight);
    return {
      what,
      measured: `${added.toFixed(3)} ms more at the median (${median(redirected).toFixed(3)} ms, p99 ${percentile(redirected, 0.99).toFixed(3)} ms)`,
      ratio: `a direct listener: ${median(straight).toFixed(3)} ms, p99 ${percentile(straight, 0.99).toFixed(3)} ms`,
      floor: `${floorMs} ms more`,
      goal: "",
      verdict: verdict(added <= floorMs, undefined),
    };
  };
  const [straight = [], redirected = []] = upload;
  const ratio = median(redirected) / median(straight);
  return [
    latency("redirected connection, from connect to the first byte", connect),
    latency("redirected connection, one round trip on it", trip),
    {
      what: `redirected connection, ${megabytes} MB uploaded`,
      measured: `${Math.round(median(redirected))} MB/s`,
      ratio: `${ratio.toFixed(2)} of a direct listener (${Math.round(median(straight))} MB/s)`,
      floor: "",
      goal: "0.95 of it",
      verdict: verdict(undefined, ratio >= 0.95),
      why: "each packet of a redirected connection passes conntrack and the address translation twice",
    },
  ];
}
