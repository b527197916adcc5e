// Pins of the tools of MCP servers in local mode: one JSON file in the state directory, written whole or not at all.
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import type { ToolPin } from "../../contract/control.ts";
import type { PinStore } from "../../operator/resources.ts";

/** One process works in a state directory (its lock), so memory is the truth and the file is for the next start. */
export function createPinFile(file: string): PinStore {
  const pins = new Map<string, readonly ToolPin[]>(
    existsSync(file) ? Object.entries(kept(file)) : [],
  );
  return {
    read: async (connection) => pins.get(connection) ?? [],
    async write(connection, tools) {
      pins.set(connection, tools);
      const text = JSON.stringify(Object.fromEntries(pins), null, 2);
      writeFileSync(`${file}.new`, text, { mode: 0o600, flush: true });
      renameSync(`${file}.new`, file);
    },
  };
}

function kept(file: string): Record<string, readonly ToolPin[]> {
  return JSON.parse(readFileSync(file, "utf8")) as Record<string, readonly ToolPin[]>;
}
