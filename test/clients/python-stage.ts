// Plays Python's scripts: one interpreter that has imported their packages, and a process of its own for each play.
import { join } from "node:path";
import { openStage, type Stage } from "./stage.ts";

export interface Play {
  /** Path of the script. */
  readonly script: string;
  readonly args: readonly string[];
  readonly cwd: string;
  /** All of its environment but for PYTHONPATH. */
  readonly env: Readonly<Record<string, string>>;
  /** What it finds as /etc/hosts (Linux, root). */
  readonly hostsFile?: string;
}

export interface Played {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** By the folder of their packages. */
const stages = new Map<string, Stage>();

/** @param program the interpreter */
export async function playPython(program: string, packages: string, play: Play): Promise<Played> {
  let stage = stages.get(packages);
  if (stage === undefined) {
    stage = openStage(program, [join(import.meta.dirname, "python_stage.py")], {
      PYTHONPATH: packages,
    });
    stages.set(packages, stage);
  }
  const env = { ...play.env, PYTHONPATH: packages };
  return JSON.parse(await stage.ask(JSON.stringify({ ...play, env }))) as Played;
}
