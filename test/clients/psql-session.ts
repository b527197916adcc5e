// The long psql session of psql.sql, as a result that can be compared: what it shows, what it complains of, what it writes.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { runProgram, type Programs } from "./programs.ts";
import type { ClientRoom, Way } from "./room.ts";

export async function playPsql(programs: Programs, room: ClientRoom, way: Way): Promise<unknown> {
  const script = await readFile(join(import.meta.dirname, "psql.sql"), "utf8");
  await writeFile(join(room.directory, "in.csv"), "id,note\n10,ten\n11,\n");
  const ran = await runProgram(programs, way, "psql", ["-X", "-a", "-f", "-"], {
    input: script.replaceAll("\\echo ", "\\warn "),
    cwd: room.directory,
  });
  return {
    status: ran.status,
    stdout: ran.stdout.replaceAll(/PID \d+/g, "PID n").split("\n"),
    stderr: ran.stderr.split("\n"),
    copied: await readFile(join(room.directory, "out.csv"), "utf8"),
    redirected: await readFile(join(room.directory, "out.txt"), "utf8"),
  };
}
