// `chaperone`, also installed as `kubectl-chaperone`: reads the arguments, runs one command, turns how it ended into an exit code.
import { basename } from "node:path";
import { CommanderError } from "commander";
import { AnswerNo, ChildExit, Failure, WrongUse } from "./exit.ts";
import { createProgram } from "./program.ts";

const asPlugin = basename(process.argv[1] ?? "").startsWith("kubectl-chaperone");

try {
  await createProgram({ asPlugin, env: process.env }).parseAsync(process.argv);
  process.exitCode ??= 0;
} catch (error) {
  process.exitCode = report(error);
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof AnswerNo) return 1;
  if (error instanceof ChildExit) return error.code;
  if (error instanceof WrongUse) {
    process.stderr.write(`chaperone: ${error.message}\n`);
    return 2;
  }
  if (error instanceof Failure) {
    process.stderr.write(`chaperone: ${error.message}\n`);
    return 1;
  }
  process.stderr.write(`chaperone: ${error instanceof Error ? error.message : String(error)}\n`);
  if (process.env.CHAPERONE_DEBUG !== undefined && error instanceof Error)
    process.stderr.write(`${error.stack ?? ""}\n`);
  return 1;
}
