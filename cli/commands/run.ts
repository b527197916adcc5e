// `run`: the same as `dev` for one command, with the injected environment and trust; its exit code is ours.
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { runEnvironment } from "../dev/environment.ts";
import { startLocal } from "../dev/local.ts";
import { summary } from "../dev/summary.ts";
import { ChildExit, Failure } from "../exit.ts";

interface RunOptions {
  readonly file: string[];
  readonly namespace?: string;
  readonly serviceAccount: string;
  readonly chain?: string;
  readonly state: string;
  readonly portBase?: number;
}

/** Shells report a command that a signal ended as 128 and the signal's number. */
const signalBase = 128;
const forwarded = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const;

export async function run(
  command: readonly string[],
  options: RunOptions,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  const started = new Date().toISOString();
  const local = await startLocal({
    files: options.file,
    namespace: options.namespace,
    serviceAccount: options.serviceAccount,
    chain: options.chain,
    state: options.state,
    portBase: options.portBase,
    say: (line) => void process.stderr.write(`chaperone: ${line}\n`),
    logLevel: env.CHAPERONE_LOG_LEVEL ?? "warn",
  });
  let code: number;
  try {
    code = await runCommand(
      command,
      runEnvironment(env, local.connections, local.caFile, local.forwardProxy),
    );
  } finally {
    await local.close();
  }
  process.stderr.write(await summary(options.state, started));
  if (code !== 0) throw new ChildExit(code);
}

function runCommand(
  [program, ...args]: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<number> {
  if (program === undefined) throw new Failure("no command was given after --");
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: "inherit", env });
    const handlers = forwarded.map((signal) => [signal, () => void child.kill(signal)] as const);
    for (const [signal, handler] of handlers) process.on(signal, handler);
    const done = (): void => {
      for (const [signal, handler] of handlers) process.off(signal, handler);
    };
    child.once("error", (error) => {
      done();
      reject(new Failure(`${program} cannot be run: ${error.message}`, { cause: error }));
    });
    child.once("exit", (code, signal) => {
      done();
      resolve(code ?? signalBase + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}
