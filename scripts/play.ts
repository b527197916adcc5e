// Plays the test files of folders, several in a process and two processes at a time. usage: node scripts/play.ts FOLDER...
import { spawn } from "node:child_process";
import { once } from "node:events";
import { globSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { alone } from "./alone.ts";

/** Node's start, the imports and the first run of cold code cost half a second of processor a process, more than many a file's tests. */
const filesTogether = 8;

/** Two cores is what the slowest machine has that plays everything. */
const processesAtOnce = 2;

interface Played {
  readonly files: readonly string[];
  readonly isGood: boolean;
  readonly told: string;
}

/** Those with a process of their own first: they are the long ones, and what is short fills the end. */
export function divide(files: readonly string[], own: ReadonlyMap<string, string>): string[][] {
  const single = files.filter((file) => own.has(file)).map((file) => [file]);
  const shared = files.filter((file) => !own.has(file));
  const processes = Math.ceil(shared.length / filesTogether);
  const from = (at: number): number => Math.round((at * shared.length) / processes);
  // Neighbours in the alphabet import the same.
  const groups = Array.from({ length: processes }, (_, at) => shared.slice(from(at), from(at + 1)));
  return [...single, ...groups];
}

async function playGroup(files: readonly string[]): Promise<Played> {
  const program = join(import.meta.dirname, "together.ts");
  const child = spawn(process.execPath, [program, ...files], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "close"),
  ]);
  return { files, isGood: code === 0, told: `${stdout}${stderr}` };
}

function testsOf(folder: string): string[] {
  const files = globSync(`${folder}/**/*.test.ts`).toSorted();
  if (files.length === 0) throw new Error(`no test file in ${folder}`);
  return files;
}

/** What failed is shown last, where it is looked for. */
async function play(folders: readonly string[]): Promise<boolean> {
  const files = folders.flatMap(testsOf);
  const left = divide(files, alone);
  const failed: Played[] = [];
  const lane = async (): Promise<void> => {
    for (let group = left.shift(); group !== undefined; group = left.shift()) {
      const played = await playGroup(group);
      if (played.isGood) process.stdout.write(played.told);
      else failed.push(played);
    }
  };
  await Promise.all(Array.from({ length: processesAtOnce }, lane));
  for (const { files: group, told } of failed)
    process.stdout.write(`${told}\nplay them again: node scripts/together.ts ${group.join(" ")}\n`);
  return failed.length === 0;
}

if (import.meta.main) process.exitCode = (await play(process.argv.slice(2))) ? 0 : 1;
