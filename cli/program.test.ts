import assert from "node:assert/strict";
import { test } from "node:test";
import type { Command } from "commander";
import { CommanderError } from "commander";
import { createProgram } from "./program.ts";

function leaves(
  command: Command,
  path: readonly string[] = [],
): { path: string; command: Command }[] {
  const here = [...path, command.name()];
  return command.commands.length === 0
    ? [{ path: here.join(" "), command }]
    : command.commands.flatMap((child) => leaves(child, here));
}

function helpOf(command: Command): string {
  let text = "";
  command.configureOutput({ writeOut: (part) => (text += part), writeErr: () => undefined });
  command.outputHelp();
  return text;
}

for (const { path, command } of leaves(createProgram({ asPlugin: false, env: {} }))) {
  test(`${path}: --help shows an example of itself`, () => {
    const help = helpOf(command);
    assert.match(help, /Example:\n {2}chaperone /);
    assert.ok(
      help.includes(
        path
          .replace(/ (run|dev)$/, " $1")
          .split(" ")
          .slice(0, 2)
          .join(" "),
      ),
      help,
    );
  });
}

test("has every command of the contract", () => {
  const have = leaves(createProgram({ asPlugin: false, env: {} })).map(({ path }) =>
    path.replace("chaperone ", ""),
  );
  const wanted = [
    "dev",
    "run",
    "check",
    "explain",
    "sessions list",
    "sessions show",
    "sessions replay",
    "events",
    "audit verify",
    "requests list",
    "approve",
    "deny",
    "quarantine add",
    "quarantine list",
    "quarantine lift",
  ];
  assert.deepEqual(
    wanted.filter((name) => !have.includes(name)),
    [],
  );
});

for (const args of [
  ["nonsense"],
  ["check"],
  ["dev", "-f", "x", "--port-base", "80"],
  ["explain", "-f", "x"],
  ["deny", "r"],
  ["events", "--verdict", "maybe"],
  ["sessions", "list", "--limit", "0"],
]) {
  test(`wrong use is an error of use: ${args.join(" ")}`, async () => {
    const program = createProgram({ asPlugin: false, env: {} });
    const silence = (command: Command): void => {
      command.configureOutput({ writeErr: () => undefined, writeOut: () => undefined });
      command.commands.forEach(silence);
    };
    silence(program);
    await assert.rejects(
      program.parseAsync(["node", "chaperone", ...args]),
      (error) => error instanceof CommanderError && error.exitCode !== 0,
    );
  });
}
