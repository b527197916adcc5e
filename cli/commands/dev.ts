// `dev`: the whole system in one process on loopback, until it is told to stop.
import { startLocal, type Local } from "../dev/local.ts";
import { table } from "../output.ts";

interface DevOptions {
  readonly file: string[];
  readonly namespace?: string;
  readonly serviceAccount: string;
  readonly chain?: string;
  readonly state: string;
  readonly portBase?: number;
  readonly json?: boolean;
}

export async function dev(options: DevOptions, env: NodeJS.ProcessEnv): Promise<void> {
  const stopped = new Promise<void>((resolve) => {
    process.once("SIGTERM", () => resolve());
    process.once("SIGINT", () => resolve());
  });
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
  process.stdout.write(options.json === true ? readyLine(local) : readyTable(local));
  await stopped;
  await local.close();
}

function readyLine({ stateDirectory, caFile, connections }: Local): string {
  const rows = connections.map(({ isKeyed: _isKeyed, ...row }) => row);
  return `${JSON.stringify({ ready: true, stateDir: stateDirectory, caFile, connections: rows })}\n`;
}

function readyTable({ connections, caFile, forwardProxy }: Local): string {
  const rows = connections.flatMap(({ namespace, name, protocol, address, env }) => {
    const variables = Object.entries(env).map(([key, value]) => `${key}=${value}`);
    return [
      [`${namespace}/${name}`, protocol, address, variables[0] ?? ""],
      ...variables.slice(1).map((variable) => ["", "", "", variable]),
    ];
  });
  const trust = `\nby host name: HTTPS_PROXY=http://${forwardProxy.address}:${forwardProxy.port} SSL_CERT_FILE=${caFile}\n`;
  return `${table(["CONNECTION", "PROTOCOL", "ADDRESS", "ENVIRONMENT"], rows)}${trust}ready\n`;
}
