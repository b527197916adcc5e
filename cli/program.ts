// The command tree. Each command stands in its own file and is loaded when it is called, so that `--help` costs nothing.
import { Command, InvalidArgumentError as InvalidArgument, Option } from "commander";
import { version } from "../contract/version.ts";
import type { BackendOptions } from "./open-backend.ts";

export interface ProgramOptions {
  /** Called as `kubectl chaperone`: state commands read the cluster of the current kubeconfig. */
  readonly asPlugin: boolean;
  readonly env: NodeJS.ProcessEnv;
}

const listLimit = 50;

export function createProgram({ asPlugin, env }: ProgramOptions): Command {
  const program = new Command(asPlugin ? "kubectl chaperone" : "chaperone")
    .description(
      "A companion for every AI agent pod: decides, masks, holds and records what an agent does.",
    )
    .version(version)
    .exitOverride()
    .enablePositionalOptions()
    .showHelpAfterError("(see --help for an example)")
    .configureHelp({ showGlobalOptions: true });

  addLocalCommands(program, env);
  addStateCommands(program, asPlugin, env);
  return program;
}

function addLocalCommands(program: Command, env: NodeJS.ProcessEnv): void {
  const files = () =>
    new Option(
      "-f, --file <path...>",
      "manifest file or directory (repeatable)",
    ).makeOptionMandatory();

  withCaller(
    program
      .command("dev")
      .description("run the whole system in one process on loopback, from manifests")
      .addOption(files()),
  )
    .option("--json", "print one line of JSON once ready")
    .addHelpText(
      "after",
      "\nExample:\n  chaperone dev -f policies/ --service-account invoice-agent",
    )
    .action(async (options) => (await import("./commands/dev.ts")).dev(options, env));

  withCaller(
    program
      .command("run")
      .description("run one command behind the policies, with the injected environment and trust")
      .addOption(files()),
  )
    .argument("<command...>", "the command and its arguments, after --")
    .passThroughOptions()
    .addHelpText("after", "\nExample:\n  chaperone run -f policies/ -- python agent.py")
    .action(async (command: string[], options) =>
      (await import("./commands/run.ts")).run(command, options, env),
    );

  program
    .command("check")
    .description("validate manifests offline with the code that admission uses")
    .addOption(files())
    .option("-n, --namespace <name>", "namespace of manifests that name none", "default")
    .addOption(outputOption())
    .addHelpText("after", "\nExample:\n  chaperone check -f policies/")
    .action(async (options) => (await import("./commands/check.ts")).check(options));

  program
    .command("explain")
    .description(
      "say who can do what, and why not: the decision, the rules that spoke, the obligations",
    )
    .addOption(files())
    .requiredOption("--service-account <name>", "who acts: name, or namespace/name")
    .requiredOption("--connection <name>", "on which connection: name, or namespace/name")
    .option("-n, --namespace <name>", "namespace of the subject and of manifests that name none")
    .option("--chain <name>", "chain the subject says it runs")
    .addOption(new Option("--sql <text>", "a SQL statement").conflicts(["http", "operation"]))
    .addOption(
      new Option("--http <request>", 'a request as "METHOD PATH"').conflicts(["sql", "operation"]),
    )
    .addOption(
      new Option(
        "--operation <file>",
        "an operation as JSON: {sql}, {method, path, headers} or {method, path, body}",
      ).conflicts(["sql", "http"]),
    )
    .option("--marks <names>", "what the pod's session carries already, separated by commas")
    .addOption(outputOption())
    .addHelpText(
      "after",
      '\nExample:\n  chaperone explain -f policies/ --service-account invoice-agent --connection orders-db --sql "DROP TABLE orders"',
    )
    .action(async (options) => (await import("./commands/explain.ts")).explain(options));
}

function withCaller(command: Command): Command {
  return command
    .option(
      "--namespace <name>",
      "namespace of the caller (default: that of the manifests, when they agree)",
    )
    .option("--service-account <name>", "service account of the caller", "default")
    .option("--chain <name>", "chain of the caller")
    .option("--state <dir>", "where keys, recordings and requests are kept", ".chaperone")
    .option(
      "--port-base <port>",
      "first port of the printed addresses (default: free ones)",
      parsePort,
    );
}

function addStateCommands(program: Command, asPlugin: boolean, env: NodeJS.ProcessEnv): void {
  const place = (command: Command): Command => {
    if (!asPlugin)
      command.option("--state <dir>", "state directory of `chaperone dev` or `run`", ".chaperone");
    if (!asPlugin)
      command.option("--cluster", "read the cluster of the current kubeconfig instead");
    return command
      .option("--context <name>", "kubeconfig context")
      .option(
        "--chaperone-namespace <name>",
        "namespace Chaperone is installed in",
        "chaperone-system",
      );
  };
  const backend = async (options: BackendOptions) =>
    (await import("./open-backend.ts")).openBackend(
      { ...options, cluster: asPlugin || options.cluster === true },
      env,
    );

  const sessions = program.command("sessions").description("what was recorded, session by session");
  place(
    sessions
      .command("list")
      .description("list sessions, newest last")
      .addOption(outputOption())
      .option("--limit <n>", "at most this many", parseCount, listLimit),
  )
    .addHelpText("after", "\nExample:\n  chaperone sessions list -o json")
    .action(async (options) =>
      (await import("./commands/sessions.ts")).list(await backend(options), options),
    );
  place(
    sessions
      .command("show")
      .description("every event of one session")
      .argument("<id>")
      .addOption(outputOption()),
  )
    .addHelpText("after", "\nExample:\n  chaperone sessions show 01JD…")
    .action(async (id: string, options) =>
      (await import("./commands/sessions.ts")).show(await backend(options), id, options),
    );
  place(
    sessions
      .command("replay")
      .description(
        "play a session with its timing; with it, what the same pod did on other connections meanwhile",
      )
      .argument("[id]", "a session, a unique beginning of one, or nothing for the newest")
      .option("--speed <factor>", "faster or slower", parseSpeed, 1)
      .option("--no-wait", "all at once")
      .option("--only", "only this session, not the pod's others"),
  )
    .addHelpText("after", "\nExample:\n  chaperone sessions replay --no-wait")
    .action(async (id: string | undefined, options) =>
      (await import("./commands/sessions.ts")).replaySession(await backend(options), id, options),
    );

  place(
    program
      .command("events")
      .description("audit events, newest last")
      .option("--follow", "go on with new ones")
      .option("--session <id>", "of this session")
      .addOption(
        new Option("--verdict <verdict>", "with this verdict").choices(["allow", "deny", "hold"]),
      )
      .option("--type <type>", "of this type")
      .option("--connection <name>", "on this connection")
      .option("--limit <n>", "at most this many of the newest", parseCount, listLimit)
      .addOption(outputOption()),
  )
    .addHelpText("after", "\nExample:\n  chaperone events --follow --verdict deny -o json")
    .action(async (options) =>
      (await import("./commands/events.ts")).events(await backend(options), options),
    );

  place(
    program
      .command("audit")
      .description("prove the recording")
      .command("verify")
      .description("check sequence and chain of every stream")
      .addOption(outputOption()),
  )
    .addHelpText("after", "\nExample:\n  chaperone audit verify")
    .action(async (options) =>
      (await import("./commands/audit.ts")).verify(await backend(options), options),
    );

  place(
    program
      .command("requests")
      .description("held operations")
      .command("list")
      .description("list access requests, newest last")
      .addOption(outputOption())
      .option("--all", "also those that are over"),
  )
    .addHelpText("after", "\nExample:\n  chaperone requests list")
    .action(async (options) =>
      (await import("./commands/requests.ts")).list(await backend(options), options),
    );
  place(
    program
      .command("approve")
      .description("let a held operation through, once")
      .argument("<name>")
      .option("-n, --namespace <name>", "namespace of the request")
      .option("--reason <text>", "recorded beside it"),
  )
    .addHelpText("after", "\nExample:\n  chaperone approve orders-db-7k3f9")
    .action(async (name: string, options) =>
      (await import("./commands/requests.ts")).decide(
        await backend(options),
        name,
        "Approved",
        options,
      ),
    );
  place(
    program
      .command("deny")
      .description("refuse a held operation")
      .argument("<name>")
      .option("-n, --namespace <name>", "namespace of the request")
      .requiredOption("--reason <text>", "told to the agent"),
  )
    .addHelpText(
      "after",
      '\nExample:\n  chaperone deny orders-db-7k3f9 --reason "refunded yesterday"',
    )
    .action(async (name: string, options) =>
      (await import("./commands/requests.ts")).decide(
        await backend(options),
        name,
        "Denied",
        options,
      ),
    );

  place(
    program
      .command("budgets")
      .description("what is used of the limits that count requests, tokens and costs")
      .addOption(outputOption()),
  )
    .addHelpText("after", "\nExample:\n  chaperone budgets")
    .action(async (options) =>
      (await import("./commands/budgets.ts")).list(await backend(options), options),
    );

  place(
    program
      .command("pods")
      .description("how strongly each injected pod is held, and the first thing that is missing")
      .addOption(outputOption()),
  )
    .addHelpText("after", "\nExample:\n  chaperone pods --cluster")
    .action(async (options) =>
      (await import("./commands/pods.ts")).list(await backend(options), options),
    );

  const quarantine = program
    .command("quarantine")
    .description("cut subjects off now, and restore them");
  place(
    quarantine
      .command("add")
      .description("cut off: no new grants, live connections ended")
      .option("-n, --namespace <name>", "namespace of the subjects")
      .option("--service-account <name>", "pods of this service account")
      .option("--pod <name>", "this pod")
      .option("--connection <name>", "everybody on this connection")
      .option("--all", "every subject of the namespace")
      .requiredOption("--reason <text>", "told to the agent and recorded"),
  )
    .addHelpText(
      "after",
      '\nExample:\n  chaperone quarantine add --service-account invoice-agent --reason "unusual refunds"',
    )
    .action(async (options) =>
      (await import("./commands/quarantine.ts")).add(await backend(options), options),
    );
  place(quarantine.command("list").description("quarantines in force").addOption(outputOption()))
    .addHelpText("after", "\nExample:\n  chaperone quarantine list")
    .action(async (options) =>
      (await import("./commands/quarantine.ts")).list(await backend(options), options),
    );
  place(
    quarantine
      .command("lift")
      .description("end a quarantine")
      .argument("<name>")
      .option("-n, --namespace <name>", "namespace of the quarantine"),
  )
    .addHelpText("after", "\nExample:\n  chaperone quarantine lift q-4f7ab")
    .action(async (name: string, options) =>
      (await import("./commands/quarantine.ts")).lift(await backend(options), name, options),
    );
}

function outputOption(): Option {
  return new Option("-o, --output <format>", "output format")
    .choices(["table", "json"])
    .default("table");
}

function parsePort(text: string): number {
  return parseNumber(text, 1024, 65_000, "a port from 1024 to 65000");
}

function parseCount(text: string): number {
  return parseNumber(text, 1, 100_000, "a number from 1 to 100000");
}

function parseNumber(text: string, least: number, most: number, what: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least || value > most)
    throw new InvalidArgument(`expected ${what}`);
  return value;
}

function parseSpeed(text: string): number {
  const value = Number(text);
  if (!(value > 0) || value > 1000)
    throw new InvalidArgument("expected a factor over 0, at most 1000");
  return value;
}
