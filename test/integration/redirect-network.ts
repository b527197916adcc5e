// Two network namespaces joined by a cable: a pod's, and the world outside of it, so that rules are the kernel's own and nothing of this machine's network is touched.
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { join } from "node:path";
import type { TestContext } from "node:test";

import { provide } from "../bench/rivals.ts";

export const proxyUid = 64_535;
export const agentUid = 64_600;
export const world = { v4: "10.77.0.1", v6: "fd77::1" } as const;
export const pod = { v4: "10.77.0.2", v6: "fd77::2" } as const;

/** Why there can be no such network here; undefined when there can. What Debian has is installed where we may. */
export async function lacking(more: readonly "perl"[] = []): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return "needs root to make network namespaces";
  for (const [program, name] of [...tools, ...more.map((one) => [one, one] as const)]) {
    const reason = await provide(program, name, () => undefined);
    if (reason !== undefined) return reason;
  }
  const tried = spawnSync("unshare", ["--net", "nft", "list", "ruleset"], { encoding: "utf8" });
  return tried.status === 0 ? undefined : `no network namespaces here: ${tried.stderr.trim()}`;
}

const tools = [
  ["nft", "nftables"],
  ["ip", "iproute2"],
  ["unshare", "util-linux"],
  ["nsenter", "util-linux"],
  ["setpriv", "util-linux"],
] as const;

/** Gives the network of a process a name, as runtimes do. @returns its file */
export function named(t: TestContext, pid: number | undefined, name: string): string {
  const done = spawnSync("ip", ["netns", "attach", name, String(pid)], { encoding: "utf8" });
  if (done.status !== 0) throw new Error(done.stderr);
  t.after(() => void spawnSync("ip", ["netns", "delete", name]));
  return `/run/netns/${name}`;
}

export class PodNetwork {
  readonly #holders: readonly [ChildProcess, ChildProcess];
  readonly #children: ChildProcess[] = [];

  private constructor(holders: readonly [ChildProcess, ChildProcess]) {
    this.#holders = holders;
  }

  /** @param families of the pod's addresses; the world has both */
  static async create(
    t: { after(done: () => unknown): void },
    families: readonly (keyof typeof pod)[] = ["v4", "v6"],
  ): Promise<PodNetwork> {
    const holder = async (): Promise<ChildProcess> => {
      const child = spawn("unshare", ["--net", "sh", "-c", "echo up; exec sleep 600"], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      await once(child.stdout ?? child, "data");
      return child;
    };
    const network = new PodNetwork([await holder(), await holder()]);
    t.after(() => network.#close());
    const [inside] = network.#holders;
    const ends = `ip link add cable type veth peer name eth0 netns ${inside.pid}`;
    // The links' own addresses count at once: nobody else could have taken them.
    const noDad = "sysctl -q -w net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0";
    network.shell("pod", [noDad]);
    network.shell("world", [
      noDad,
      "ip link set lo up",
      ends,
      `ip addr add ${world.v4}/24 dev cable`,
      // Addresses of the internet, of a cloud's metadata service and of a cluster, all at one machine.
      "ip addr add 169.254.169.254/32 dev cable",
      "ip addr add 1.1.1.1/32 dev cable",
      `ip -6 addr add ${world.v6}/64 dev cable nodad`,
      "ip link set cable up",
    ]);
    network.shell("pod", [
      "ip link set lo up",
      ...(families.includes("v4") ? [`ip addr add ${pod.v4}/24 dev eth0`] : []),
      ...(families.includes("v6") ? [`ip -6 addr add ${pod.v6}/64 dev eth0 nodad`] : []),
      "ip link set eth0 up",
      ...(families.includes("v4") ? [`ip route add default via ${world.v4}`] : []),
      ...(families.includes("v6") ? [`ip -6 route add default via ${world.v6}`] : []),
      // The kernel tells a moment later that the cable is plugged in; programs in a pod never see it otherwise.
      "for i in $(seq 500); do ip link show eth0 | grep -q 'state UP' && break; sleep 0.01; done",
      "ip link show eth0 | grep -q 'state UP'",
      // As containerd sets it up.
      "sysctl -q -w net.ipv4.ping_group_range='0 2147483647'",
    ]);
    return network;
  }

  /** Lines for a shell that is root in there. */
  shell(where: "pod" | "world", lines: readonly string[]): void {
    const done = spawnSync("nsenter", [...this.#into(where), "sh", "-ec", lines.join("\n")], {
      encoding: "utf8",
    });
    if (done.status !== 0) throw new Error(`${where}: ${done.stderr}`);
  }

  /** @returns the file of the pod's network */
  named(t: TestContext, name: string): string {
    return named(t, this.#holders[0].pid, name);
  }

  #into(where: "pod" | "world"): string[] {
    const [inside, outside] = this.#holders;
    return ["--target", String((where === "pod" ? inside : outside).pid), "--net"];
  }

  /** A program of test/integration or of the product; as root, `uid` 0, with every capability. */
  run(
    where: "pod" | "world",
    uid: number,
    program: string,
    args: readonly string[] = [],
    env: Readonly<Record<string, string>> = {},
  ): { readonly status: number | null; readonly stdout: string; readonly stderr: string } {
    const { status, stdout, stderr } = spawnSync(
      "nsenter",
      this.#command(where, uid, program, args),
      {
        encoding: "utf8",
        timeout: 60_000,
        env: this.#environment(env),
      },
    );
    return { status, stdout, stderr };
  }

  /** What Node cannot say to a kernel, Perl can: the script's standard output. */
  perl(where: "pod" | "world", uid: number, script: string): string {
    const { stdout, stderr, status } = spawnSync(
      "nsenter",
      [...this.#into(where), ...this.#user(uid), "perl", "-e", script],
      { encoding: "utf8", timeout: 60_000 },
    );
    if (status !== 0) throw new Error(`perl ended with ${status}: ${stderr}`);
    return stdout.trim();
  }

  /** The same for a program that stays; resolves with its lines once it has said the first. */
  async start(
    where: "pod" | "world",
    uid: number,
    program: string,
    args: readonly string[] = [],
  ): Promise<{ readonly lines: string[] }> {
    const child = spawn("nsenter", this.#command(where, uid, program, args), {
      stdio: ["ignore", "pipe", "inherit"],
      env: this.#environment({}),
    });
    this.#children.push(child);
    const lines: string[] = [];
    const reader = createInterface({ input: child.stdout });
    reader.on("line", (line) => lines.push(line));
    await Promise.race([
      once(reader, "line"),
      once(child, "exit").then(() => {
        throw new Error(`${program} ended at once`);
      }),
    ]);
    return { lines };
  }

  #command(
    where: "pod" | "world",
    uid: number,
    program: string,
    args: readonly string[],
  ): string[] {
    const file = join(import.meta.dirname, "../..", program);
    return [...this.#into(where), ...this.#user(uid), process.execPath, file, ...args];
  }

  #user(uid: number): readonly string[] {
    return uid === 0 ? [] : ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", "--"];
  }

  #environment(env: Readonly<Record<string, string>>): Record<string, string> {
    return { PATH: process.env.PATH ?? "", ...env };
  }

  async #close(): Promise<void> {
    for (const child of [...this.#children, ...this.#holders]) child.kill("SIGKILL");
    await Promise.all(
      this.#holders.filter(({ exitCode }) => exitCode === null).map((child) => once(child, "exit")),
    );
  }
}
