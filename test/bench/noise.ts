// How much of the machine others use. A round that they disturbed is measured again, for as long as there is patience.
import { readdir, readFile } from "node:fs/promises";
import { pause } from "./processes.ts";

/** Cores that others may use during a round: a tenth of it changes a figure by less than rounds differ anyway. */
const quietCores = 0.3;
/** How long to look before a round begins. */
const lookMs = 400;
/** sysconf(_SC_CLK_TCK) on every Linux that Node runs on. */
const ticksPerSecond = 100;
/** Seconds that one run may spend on waiting for others and on repeating; BENCH_WAIT says otherwise. */
const defaultPatienceS = 300;

interface Use {
  readonly atMs: number;
  /** In ticks, of all cores. */
  readonly busy: number;
  readonly ours: number;
}

export class Patience {
  #leftMs = Number(process.env.BENCH_WAIT ?? defaultPatienceS) * 1_000;
  #worst = 0;

  /** The most that others used in a round that was kept, in cores. */
  get worst(): number {
    return this.#worst;
  }

  /** Measures when others are quiet, and again when they were not meanwhile. The least disturbed attempt counts. */
  async quietly<T>(measure: () => Promise<T>): Promise<T> {
    let best: { readonly result: T; readonly others: number } | undefined;
    for (;;) {
      await this.#untilQuiet();
      const before = await use();
      const result = await measure();
      const others = othersBetween(before, await use());
      if (best === undefined || others < best.others) best = { result, others };
      this.#leftMs -= best.others > quietCores ? Date.now() - before.atMs : 0;
      if (best.others <= quietCores || this.#leftMs <= 0) break;
    }
    this.#worst = Math.max(this.#worst, best.others);
    return best.result;
  }

  async #untilQuiet(): Promise<void> {
    while (this.#leftMs > 0) {
      const before = await use();
      await pause(lookMs);
      if (othersBetween(before, await use()) <= quietCores) return;
      this.#leftMs -= lookMs;
    }
  }
}

function othersBetween(before: Use, after: Use): number {
  const seconds = (after.atMs - before.atMs) / 1_000;
  const ticks = after.busy - before.busy - (after.ours - before.ours);
  return Math.max(0, ticks / ticksPerSecond / seconds);
}

async function use(): Promise<Use> {
  const [all = ""] = (await readFile("/proc/stat", "utf8")).split("\n");
  // user nice system idle iowait irq softirq steal (proc(5)).
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = all
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return {
    atMs: performance.timeOrigin + performance.now(),
    busy: user + nice + system + irq + softirq + steal,
    ours: await ticksOfTree(),
  };
}

/** This process and all below it, with what their ended children used. */
async function ticksOfTree(): Promise<number> {
  const processes = new Map<number, { readonly parent: number; readonly ticks: number }>();
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, "utf8").catch(() => "");
    if (stat === "") continue;
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const ticks = fields.slice(11, 15).reduce((sum, value) => sum + Number(value), 0);
    processes.set(Number(name), { parent: Number(fields[1]), ticks });
  }
  const isOurs = (pid: number): boolean => {
    for (let at: number | undefined = pid; at !== undefined; at = processes.get(at)?.parent)
      if (at === process.pid) return true;
    return false;
  };
  let sum = 0;
  for (const [pid, { ticks }] of processes) if (isOurs(pid)) sum += ticks;
  return sum;
}
